#!/usr/bin/env bash
# Installs the client into the folder $1.
set -euo pipefail
cd "$(dirname "$0")"
mvn --quiet --batch-mode --file pom.xml dependency:copy-dependencies -DoutputDirectory="$1/lib"
javac -encoding UTF-8 -cp "$1/lib/*" -d "$1/classes" Client.java
printf '#!/bin/sh\nexec java -Xshare:auto -XX:TieredStopAtLevel=1 -Dfile.encoding=UTF-8 -cp "%s/classes:%s/lib/*" Client\n' "$1" "$1" > "$1/client"
chmod +x "$1/client"
