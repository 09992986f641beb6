# Starting and stopping, whatever starts the agent. Given: service, prefix, state, socket.
unit=edgectl-agent.service
# Nothing is written beside the system's own files.
export PYTHONDONTWRITEBYTECODE=1

# The folder of the agent's state, its own alone; and, for a service of the machine, the user that its workers are.
own_state() {
  mkdir -p "$state" && chmod 700 "$state" || { echo "error: cannot make $state"; exit 1; }
  [ "$service" = system ] || return 0
  id edgectl-worker >/dev/null 2>&1 ||
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin edgectl-worker ||
    { echo "error: cannot make the user edgectl-worker"; exit 1; }
}

# A process of that number may be another one by now, or have ended and wait for its parent: then it has no command line.
# On its way to the agent it is the script that starts it, then that of its version.
agent_runs() {
  tr '\000' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF -e edgectl_agent -e "$prefix/start" -e "$prefix/current/run"
}

stop_agent() {
  case "$service" in
    system) systemctl stop "$unit" 2>/dev/null ;;
    user) systemctl --user stop "$unit" 2>/dev/null ;;
    none)
      pid=$(cat "$prefix/agent.pid" 2>/dev/null) || return 0
      agent_runs "$pid" && kill "$pid" 2>/dev/null
      for _ in $(seq 1 300); do
        agent_runs "$pid" || break
        sleep 0.1
      done
      agent_runs "$pid" && kill -9 "$pid" 2>/dev/null
      rm -f "$prefix/agent.pid"
      ;;
  esac
  return 0
}

start_agent() {
  case "$service" in
    system) systemctl restart "$unit" ;;
    user) systemctl --user restart "$unit" ;;
    none) "$prefix/start" ;;
  esac
}

last_words() {
  case "$service" in
    system) journalctl -u "$unit" -n 5 --no-pager -o cat 2>/dev/null ;;
    user) journalctl --user -u "$unit" -n 5 --no-pager -o cat 2>/dev/null ;;
    none) tail -n 5 "$prefix/agent.log" 2>/dev/null ;;
  esac | tr '\n' '|' | cut -c1-600
}

# Says hello over the socket, from the device itself.
answers() { "$prefix/current/agent/bin/python" -m edgectl_agent hello "unix:$socket" --timeout "$1" >/dev/null 2>&1; }
