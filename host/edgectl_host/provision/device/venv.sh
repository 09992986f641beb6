# Makes one environment of wheels, without a network and without ensurepip. Given: prefix, folder, python, options,
# installer, wheels. It is made in its place, since an environment cannot be moved; one that is not complete is made anew.
export PYTHONDONTWRITEBYTECODE=1
[ -e "$folder/.complete" ] && exit 0
rm -rf "$folder" && mkdir -p "$folder" || { echo "error: cannot make $folder"; exit 1; }
"$python" -I -B -m venv --without-pip $options "$folder" || {
  echo "error: $python cannot make an environment in $folder"
  echo "hint: try there: $python -m venv --without-pip /tmp/try"
  exit 1
}
cd "$prefix/wheels" || exit 1
"$folder/bin/python" "$installer/pip" install -q --no-index --no-deps --no-cache-dir --disable-pip-version-check \
  --root-user-action=ignore $wheels || {
  echo "error: $folder could not be filled from $prefix/wheels"
  exit 1
}
: >"$folder/.complete"
