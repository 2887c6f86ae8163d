#!/usr/bin/env bash
# ssh-keygen of OpenSSH 9.2p1 (Debian openssh-client 1:9.2p1-2+deb12u10)
#
# What most expect: a list of allowed signers is data like a certificate, whose end is one moment everywhere.
#
# What it does: `valid-before` and `valid-after` without a trailing `Z` are read in the time zone of whoever verifies. The same file, key
# and signature, verified for the same moment (`verify-time` with `Z`), are accepted on one machine and refused on another, up to 26
# hours apart. A verifier in a container (UTC) and an approver's laptop disagree on the day on which a key ends. With `Z` they agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq openssh-client=1:9.2p1-2+deb12u10 >/dev/null 2>&1
dpkg-deb -x openssh-client_*.deb .
ssh_keygen=$folder/usr/bin/ssh-keygen

"$ssh_keygen" -q -t ed25519 -N "" -f key
echo "message" >message
"$ssh_keygen" -q -Y sign -f key -n approval message
public=$(cut -d' ' -f1,2 key.pub)
echo "a namespaces=\"approval\",valid-before=\"20260101120000\" $public" >local
echo "a namespaces=\"approval\",valid-before=\"20260101120000Z\" $public" >utc
verify() {
    TZ=$1 "$ssh_keygen" -Y verify -f "$2" -I a -n approval -s message.sig -O "verify-time=$3" <message >/dev/null 2>&1 && echo accepted || echo refused
}
seen=$(for moment in 20260101110000Z 20260101130000Z; do
    for zone in Pacific/Auckland UTC America/Los_Angeles; do
        echo "$moment in $zone: without Z $(verify "$zone" local $moment), with Z $(verify "$zone" utc $moment)"
    done
done)
echo "$seen"
diff - <(echo "$seen") <<'SEEN'
20260101110000Z in Pacific/Auckland: without Z refused, with Z accepted
20260101110000Z in UTC: without Z accepted, with Z accepted
20260101110000Z in America/Los_Angeles: without Z accepted, with Z accepted
20260101130000Z in Pacific/Auckland: without Z refused, with Z refused
20260101130000Z in UTC: without Z refused, with Z refused
20260101130000Z in America/Los_Angeles: without Z accepted, with Z refused
SEEN
