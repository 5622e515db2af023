#!/bin/sh
# kafka serve, or kafka CLASS ARGUMENTS: a tool of Kafka.
java() { exec /usr/lib/jvm/java-17-openjdk-amd64/bin/java -Xmx512m -cp '/opt/kafka/*' -Dorg.slf4j.simpleLogger.defaultLogLevel=warn "$@"; }
[ "$1" = serve ] || java "$@"
[ -d /tmp/kafka ] || (java kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c /etc/kafka.properties) || exit 1
java kafka.Kafka /etc/kafka.properties
