# Lets the agent be started: by a unit, or by a script and its process number. After functions.sh; given: definition.
own_state
case "$service" in
  system)
    printf '%s' "$definition" >"/etc/systemd/system/$unit" && systemctl daemon-reload && systemctl enable -q "$unit" ||
      { echo "error: systemd does not take the unit"; echo "hint: systemd-analyze verify /etc/systemd/system/$unit"; exit 1; }
    ;;
  user)
    mkdir -p "$HOME/.config/systemd/user"
    printf '%s' "$definition" >"$HOME/.config/systemd/user/$unit" && systemctl --user daemon-reload &&
      systemctl --user enable -q "$unit" ||
      { echo "error: systemd does not take the unit"; exit 1; }
    # Without this the service ends with the login.
    loginctl enable-linger 2>/dev/null || echo "note: it ends when you log out: sudo loginctl enable-linger $(id -un)"
    ;;
  none)
    printf '%s' "$definition" >"$prefix/start" && chmod 755 "$prefix/start" || { echo "error: cannot write $prefix/start"; exit 1; }
    ;;
esac
stop_agent
start_agent || { echo "error: the agent does not start: $(last_words)"; exit 1; }
answers 60 || { echo "error: the agent does not answer on $socket: $(last_words)"; exit 1; }
