# Takes everything away again. After functions.sh.
stop_agent
case "$service" in
  system)
    systemctl disable -q "$unit" 2>/dev/null
    rm -f "/etc/systemd/system/$unit" && systemctl daemon-reload
    id edgectl-worker >/dev/null 2>&1 && userdel edgectl-worker
    ;;
  user)
    systemctl --user disable -q "$unit" 2>/dev/null
    rm -f "$HOME/.config/systemd/user/$unit" && systemctl --user daemon-reload
    ;;
esac
rm -rf "$prefix" "$state" "$socket"
# The folder of the socket, where it was made for it alone.
case "$socket" in /run/edgectl/*) rm -rf /run/edgectl ;; esac
left=$(ls -d "$prefix" "$state" "$socket" 2>/dev/null)
[ -z "$left" ] || { echo "error: still there: $left"; exit 1; }
