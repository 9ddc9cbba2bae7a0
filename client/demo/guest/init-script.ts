/**
 * The first process of the guest, for busybox. Words of the kernel's command line that it knows: `address=` of its first
 * adapter, `fetch=` an address that it asks for its newest transaction, `serve=no` if it writes none, `disks=` the labels
 * of its disks (os,data by default), `pause=` the time between two transactions in microseconds.
 */
export const initScript = String.raw`#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in $(cat /modules/order); do insmod /modules/$module; done
disks='os data'
pause=50000
for word in $(cat /proc/cmdline); do
  value=$(echo "$word" | cut -d = -f 2-)
  case $word in
    address=*) address=$value ;;
    fetch=*) fetch=$value ;;
    disks=*) disks=$(echo "$value" | tr , ' ') ;;
    pause=*) pause=$value ;;
  esac
done

# On the serial port, which is kept, and on the screen.
tell() {
  echo "guest: $1" > /dev/console
  echo "guest: $1" > /dev/tty1
}

# The power button shuts the guest down.
mkdir -p /etc/acpi
printf '#!/bin/sh\nkill -USR1 1\n' > /etc/acpi/power
chmod +x /etc/acpi/power
cat > /etc/acpid.conf <<'CONF'
PWRF power
CONF
cat > /etc/acpi.map <<'MAP'
EV_KEY 0x01 KEY_POWER 116 1 PWRF
MAP
acpid -c /etc/acpi -a /etc/acpid.conf -M /etc/acpi.map -l /dev/null

halt_now() {
  kill "$writer" 2>/dev/null
  wait "$writer" 2>/dev/null
  for disk in $mounted; do tell "$disk is left with $(newest $disk) transactions"; done
  umount $mounted 2>/dev/null
  sync
  tell 'shut down'
  poweroff -f
}
trap halt_now USR1

ip link set lo up
if [ -n "$address" ]; then
  ip link set eth0 up
  ip address add "$address" dev eth0
fi

# A guest agent, as far as running programs: one at a time, whose arguments have no spaces.
agent() {
  port=/dev/$(basename "$(dirname "$(grep -l guest_agent /sys/class/virtio-ports/*/name)")")
  exec 3<>"$port"
  while :; do
    # Without a client at the host end there is nothing to read.
    read -r line <&3 || { usleep 200000; continue; }
    case $line in
      *guest-sync*) answer=$(echo "$line" | sed 's/.*"id": *\([0-9]*\).*/{"return": \1}/') ;;
      *guest-exec-status*) answer="{\"return\": {\"exited\": true, \"exitcode\": $code, \"out-data\": \"$output\"}}" ;;
      *guest-exec*)
        program=$(echo "$line" | sed 's/.*"path":"\([^"]*\)".*/\1/')
        arguments=$(echo "$line" | sed 's/.*"arg":\[\([^]]*\)\].*/\1/' | tr -d '"' | tr ',' ' ')
        $program $arguments > /run/output 2>&1
        code=$?
        output=$(base64 /run/output | tr -d '\n')
        answer='{"return": {"pid": 1}}'
        ;;
      '') continue ;;
      *) answer='{"error": {"desc": "not supported"}}' ;;
    esac
    echo "$answer" >&3
  done
}
agent &

# The disks are found by their labels, whatever bus they are on.
mkdir -p /run/www
for label in $disks; do
  mkdir -p /$label
  tries=0
  until device=$(findfs LABEL=$label 2>/dev/null) || [ $tries -ge 50 ]; do usleep 100000; tries=$((tries + 1)); done
  [ -n "$device" ] && mount -t ext4 "$device" /$label && mounted="$mounted /$label"
done

newest() {
  number=$(tail -n 1 "$1/transactions" 2>/dev/null | cut -d ' ' -f 1)
  [ -n "$number" ] || number=0
  echo "$number"
}

# A transaction is a number and the digest of what came before, on the first disk and then on the second.
write_transactions() {
  n=$(newest /os)
  while :; do
    # At the start: one that an earlier life has written to the first disk alone.
    for disk in $mounted; do
      while [ "$(newest $disk)" -lt "$n" ]; do
        echo "$(($(newest $disk) + 1)) $(tail -n 1 $disk/transactions 2>/dev/null | sha256sum | cut -c 1-16)" >> $disk/transactions
        sync -d $disk/transactions
      done
    done
    echo $n > /run/www/newest
    usleep $pause
    n=$((n + 1))
  done
}

for disk in $mounted; do
  touch $disk/transactions
  if awk '$1 != NR || NF != 2 { exit 1 }' $disk/transactions; then order='in order'; else order='NOT IN ORDER'; fi
  tell "$disk holds $(wc -l < $disk/transactions) transactions, $order"
done
echo $(newest /os) > /run/www/newest
httpd -p 80 -h /run/www
case $(cat /proc/cmdline) in
  *serve=no*) ;;
  *) write_transactions & writer=$! ;;
esac
if [ -n "$fetch" ]; then
  # Its own time limit, and the name of a service, make this program crash.
  if got=$(timeout 10 wget -q -O - "http://$fetch:80/newest"); then result="fetched $got"; else result='reached nobody'; fi
  tell "$result"
fi
tell 'ready'
while :; do
  sleep 3600 &
  wait $!
done
`;
