# Asks a machine what it is. Changes nothing, needs a POSIX shell. One fact a line: key, tab, value.
# Given: prefixes (where an agent may be), modules (libraries that a device brings itself).
say() { printf '%s\t%s\n' "$1" "$(printf '%s' "$2" | tr -d '\000\r' | tr '\n\t' '  ' | cut -c1-400)"; }
say system "$(uname -s)"
say arch "$(uname -m)"
say kernel "$(uname -r)"
say host "$(uname -n)"
say user "$(id -un 2>/dev/null)"
say uid "$(id -u)"
say home "$HOME"
say clock "$(date +%s)"
[ -r /etc/os-release ] && say os "$(. /etc/os-release && printf '%s' "$PRETTY_NAME")"

libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || libc=$(ldd --version 2>&1 | sed -n '/[Mm]usl/{n;s/Version /musl /p;}')

for file in /proc/device-tree/model /sys/firmware/devicetree/base/model; do
  [ -r "$file" ] && { say board "$(tr -d '\000' <"$file")"; break; }
done
say cpu "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)"
say flags "$(sed -n 's/^\(flags\|Features\)[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1 | tr ' ' '\n' |
  grep -E '^(asimd|asimddp|i8mm|bf16|sve|sve2|avx|avx2|avx_vnni|avx512f|avx512_vnni|avx512_bf16|amx_tile|amx_int8|amx_bf16|f16c|fma)$' | tr '\n' ' ')"
[ -r /etc/nv_tegra_release ] && say l4t "$(head -n 1 /etc/nv_tegra_release)"
command -v dpkg-query >/dev/null 2>&1 &&
  say jetpack "$(dpkg-query -W -f '${Version}' nvidia-jetpack 2>/dev/null)"

if [ "$(id -u)" = 0 ]; then say root self
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then say root sudo
else say root none; fi

if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
  say systemd system
  systemctl --user show-environment >/dev/null 2>&1 && say systemd user
fi

for tool in tar sha256sum setsid nohup; do command -v "$tool" >/dev/null 2>&1 && say tool "$tool"; done
for place in /opt "$HOME"; do
  [ -d "$place" ] && say free "$place $(df -Pk "$place" 2>/dev/null | { read -r _; read -r _ _ _ kib _; echo "$kib"; })"
done
for address in $(hostname -I 2>/dev/null || ip -o addr show scope global 2>/dev/null | sed 's/.* inet6\{0,1\} \([^/ ]*\).*/\1/'); do
  say address "$address"
done

for prefix in $prefixes; do
  [ -L "$prefix/current" ] && say agent "$prefix $(readlink "$prefix/current")"
done

# Every Python once, by where its name leads to; the folder of a version manager's own ones too.
seen=
for python in \
  $also /usr/bin/python3 /usr/bin/python3.1[0-9] /usr/local/bin/python3 /usr/local/bin/python3.1[0-9] \
  "$HOME"/.local/bin/python3.1[0-9] "$HOME"/.local/share/uv/python/*/bin/python3.1[0-9] \
  "$HOME"/.pyenv/versions/*/bin/python3.1[0-9] "$HOME"/miniconda3/bin/python3 "$HOME"/miniforge3/bin/python3 \
  /opt/conda/bin/python3 "$(command -v python3 2>/dev/null)"; do
  [ -x "$python" ] || continue
  real=$(readlink -f "$python") || continue
  case " $seen " in *" $real "*) continue ;; esac
  seen="$seen $real"
  [ -n "$libc" ] || libc=$("$python" -I -B -c 'import os; print(os.confstr("CS_GNU_LIBC_VERSION"))' 2>/dev/null)
  found=$("$python" -I -B -c '
import importlib.util as u, sys
if not sys.implementation.name == "cpython": sys.exit(1)
has = [m for m in sys.argv[1:] if u.find_spec(m)]
print("%d.%d.%d" % sys.version_info[:3], "venv" if u.find_spec("venv") else "bare", *has)' $modules 2>/dev/null) &&
    say python "$python $found"
done
say libc "$libc"
exit 0
