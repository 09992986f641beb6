# Takes wheels as a tar from standard input. Given: prefix. A file that is cut off has another digest: it is sent again.
mkdir -p "$prefix/wheels" && tar -x -f - -C "$prefix/wheels" || {
  echo "error: $prefix/wheels cannot be written: is the disk full?"
  echo "hint: df -h $prefix/wheels"
  exit 1
}
