# Sourced by the other scripts: sets $root and $python, and makes .venv from a lock file where that is needed.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python

find_python() {
  local name
  for name in python3.13 python3.12 python3.11 python3; do
    if command -v "$name" >/dev/null &&
      "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "mudserver needs Python 3.11, 3.12 or 3.13; none of them is on the PATH." >&2
  return 1
}

# ensure_venv LOCK: .venv holds what scripts/LOCK pins. Does nothing if it did so last time.
ensure_venv() {
  local lock=$root/scripts/$1 stamp=$root/.venv/installed-$1 interpreter
  if [ -x "$python" ] && cmp -s "$lock" "$stamp"; then
    return
  fi
  if [ ! -x "$python" ]; then
    interpreter=$(find_python)
    echo "Making $root/.venv" >&2
    "$interpreter" -m venv "$root/.venv"
  fi
  echo "Installing what scripts/$1 pins" >&2
  "$python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
  # Puts the command `mudserver` into .venv; the code stays where it is.
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --editable "$root"
  cp "$lock" "$stamp"
}
