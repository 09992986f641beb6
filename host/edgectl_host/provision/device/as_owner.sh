# Runs a command as the user that owns the agent's state. After functions.sh; given: words, one a line.
own_state
set -f
IFS='
'
set -- $words
unset IFS
[ "$service" = system ] && exec runuser -u edgectl -- "$@"
exec "$@"
