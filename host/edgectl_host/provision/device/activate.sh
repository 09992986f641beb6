# Writes what starts the agent, and lets `current` name this installation. Given: prefix, version, run, interpreters, switch.
folder="$prefix/versions/$version"
printf '%s' "$run" >"$folder/run.part" && chmod 755 "$folder/run.part" && mv "$folder/run.part" "$folder/run" &&
  printf '%s' "$interpreters" >"$folder/interpreters.json" || { echo "error: cannot write in $folder"; exit 1; }
[ "$switch" = yes ] || exit 0
ln -sfn "versions/$version" "$prefix/.next" && mv -fT "$prefix/.next" "$prefix/current" ||
  { echo "error: cannot link $prefix/current"; exit 1; }
