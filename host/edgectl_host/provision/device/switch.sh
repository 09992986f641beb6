# Goes to another installation, and back when it does not answer in time. After functions.sh; given: version, timeout.
# It runs detached from the login, so that a cut connection leaves one of the two working.
old=$(readlink "$prefix/current")
point() { ln -sfn "$1" "$prefix/.next" && mv -fT "$prefix/.next" "$prefix/current"; }
finish() { printf '%s\n' "$1" >"$prefix/update.part" && mv "$prefix/update.part" "$prefix/update.result"; exit 0; }
stop_agent
point "versions/$version" || finish "failed the link $prefix/current cannot be written"
start_agent && answers "$timeout" || {
  said=$(last_words)
  stop_agent
  point "$old" && start_agent && answers "$timeout" && finish "back $said"
  finish "failed neither the new version nor the old one answers: $said"
}
for folder in "$prefix"/versions/*; do
  case "versions/${folder##*/}" in "$old" | "versions/$version") ;; *) rm -rf "$folder" ;; esac
done
finish new
