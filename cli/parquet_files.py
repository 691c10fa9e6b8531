"""Opens Parquet files, and turns their values into what JSON can write."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from cli.text_files import UnreadableFile


def parquet_table(path: Path, file: IO[bytes]) -> Any:
    """An opened Parquet file; raises UnreadableFile."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UnreadableFile("a Parquet file needs the package pyarrow: pip install 'ebbtide[parquet]'") from None
    try:
        return parquet.ParquetFile(file)
    except (ArrowException, OSError) as error:
        raise UnreadableFile(f"{path}: not Parquet ({str(error).splitlines()[0][:100]})") from None


def json_value(value: Any) -> Any:
    """The value as JSON can write it."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        case date() | time():
            return value.isoformat()
        case bytes():
            return value.decode(errors="replace")
        case list():
            return [json_value(each) for each in value]
        case dict():
            return {str(name): json_value(each) for name, each in value.items()}
        case _:
            return value
