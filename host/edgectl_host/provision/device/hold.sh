# What wheels are there, whole: digest and name a line. Given: prefix.
mkdir -p "$prefix/wheels" || { echo "error: cannot make $prefix/wheels"; exit 1; }
cd "$prefix/wheels" || exit 1
for wheel in *.whl; do
  [ -f "$wheel" ] && sha256sum -- "$wheel"
done
exit 0
