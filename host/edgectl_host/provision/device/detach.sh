# Runs a job that outlives the login, and waits for its outcome. Given: prefix, job.
rm -f "$prefix/update.result"
printf '%s' "$job" >"$prefix/update.job" || { echo "failed $prefix cannot be written"; exit 0; }
nohup setsid sh "$prefix/update.job" >"$prefix/update.log" 2>&1 </dev/null &
while [ ! -e "$prefix/update.result" ]; do sleep 0.3; done
cat "$prefix/update.result"
rm -f "$prefix/update.result" "$prefix/update.job" "$prefix/update.log"
