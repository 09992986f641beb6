# Runs a command of the agent on its state. After functions.sh; given: words, one a line.
own_state
set -f
IFS='
'
set -- $words
unset IFS
exec "$@"
