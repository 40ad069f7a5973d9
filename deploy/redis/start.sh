#!/bin/sh
# Starts redis-server with users.acl, its passwords taken from the environment.
set -eu
: "${ENGINE_PASSWORD:?}" "${LOADER_PASSWORD:?}" "${ADMIN_PASSWORD:?}"
case "$ENGINE_PASSWORD$LOADER_PASSWORD$ADMIN_PASSWORD" in
    *[!A-Za-z0-9_-]*) echo "passwords may hold letters, digits, _ and - only" >&2; exit 2 ;;
esac
source=${SOURCE:-/etc/tripline}
users=${USERS_FILE:-/tmp/users.acl}
umask 077
sed -e '/^#/d' \
    -e "s/@ENGINE_PASSWORD@/$ENGINE_PASSWORD/" \
    -e "s/@LOADER_PASSWORD@/$LOADER_PASSWORD/" \
    -e "s/@ADMIN_PASSWORD@/$ADMIN_PASSWORD/" \
    "$source/users.acl" >"$users"
unset ENGINE_PASSWORD LOADER_PASSWORD ADMIN_PASSWORD
exec redis-server "$source/redis.conf" --aclfile "$users" "$@"
