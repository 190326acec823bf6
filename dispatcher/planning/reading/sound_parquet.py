"""Reads a Parquet file to its end and counts its rows, in a process of its own: a damaged one may bring it down.

Run as a script, by its path: it imports nothing but polars.
"""

import sys

import polars as pl


def main(path: str, chunk_rows: int) -> None:
    """Print how many rows the file says it has, and how many there are in the columns that will be read."""
    table = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    columns = [name for name, kind in table.collect_schema().items() if not kind.is_nested()]
    told = table.select(pl.len()).collect().item()
    batches = table.select(columns).collect_batches(chunk_size=chunk_rows, maintain_order=True)
    sys.stdout.write(f"{told} {sum(batch.height for batch in batches) if columns else told}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
