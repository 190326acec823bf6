"""Reading: a file or a stream of any format that people have becomes chunks of columns, all text."""
