// Publishes an order of each user on standard input, by the contract of docs/ingest.md. Order 3 is PREFIX-3.
const { readFileSync } = require('fs');
const [, , modules, broker, prefix, partitioner] = process.argv;
const { CompressionTypes, Kafka, Partitioners, logLevel } = require(modules + '/node_modules/kafkajs');

async function main() {
    const client = new Kafka({ clientId: 'orders', brokers: [broker], logLevel: logLevel.ERROR });
    const createPartitioner = Partitioners[partitioner];
    const producer = client.producer({ createPartitioner, idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    const users = readFileSync(0, 'utf8').split('\n').filter(line => line !== '');
    const messages = users.map((user, number) => {
        const order = `${prefix}-${number}`;
        const event = {
            id: order, type: 'order_completed', user_id: user, time: new Date().toISOString(),
            properties: { order_id: order, total: 9.5 }, source: 'node',
        };
        return { key: user, value: JSON.stringify(event) };
    });
    await producer.send({ topic: 'events', acks: -1, compression: CompressionTypes.GZIP, messages });
    await producer.disconnect();
}

main().catch(error => { console.error(error); process.exit(1); });
