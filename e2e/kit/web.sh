# shellcheck shell=bash
# Other people's web servers around the product: nginx for exported trees, and a recording proxy in front of a server.

# authority: makes, once a run, the certificate authority that the daemons and the server believe besides those of the
# system. Sets AUTHORITY, a folder: ca.crt, ca.key, and bundle.crt, which is the system's and ours.
authority() {
    AUTHORITY=$HW_STATE/authority
    [ ! -e "$AUTHORITY/bundle.crt" ] || return 0
    mkdir -p "$AUTHORITY"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=cases of Headwater" \
        -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$AUTHORITY/ca.key" -out "$AUTHORITY/ca.crt" 2>/dev/null
    cat /etc/ssl/certs/ca-certificates.crt "$AUTHORITY/ca.crt" >"$AUTHORITY/bundle.crt"
}

# certificate FOLDER: server.crt and server.key for 127.0.0.1 and localhost, signed by that authority.
certificate() {
    authority
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
        -keyout "$1/server.key" -out "$1/server.csr" 2>/dev/null
    openssl x509 -req -in "$1/server.csr" -CA "$AUTHORITY/ca.crt" -CAkey "$AUTHORITY/ca.key" -days 30 \
        -extfile <(echo subjectAltName=IP:127.0.0.1,DNS:localhost) -out "$1/server.crt" 2>/dev/null
}

# static_server FOLDER [NGINX-LINES]: serves it over TLS, and refuses what comes in plain. Sets STATIC_URL and
# STATIC_CERTIFICATE.
# shellcheck disable=SC2034 # the cases read them
static_server() {
    local root=$1 lines=${2:-} port etc=$CASE/nginx
    port=$(free_port)
    STATIC_URL=https://127.0.0.1:$port
    STATIC_CERTIFICATE=$etc/server.crt
    mkdir -p "$etc"
    certificate "$etc"
    cat >"$etc/nginx.conf" <<CONF
daemon off;
pid $etc/pid;
error_log stderr;
events {}
http {
    access_log $CASE/log/nginx-access.log;
    client_body_temp_path $etc/body;
    proxy_temp_path $etc/proxy;
    fastcgi_temp_path $etc/fastcgi;
    uwsgi_temp_path $etc/uwsgi;
    scgi_temp_path $etc/scgi;
    types { application/json json; }
    server {
        listen 127.0.0.1:$port ssl;
        ssl_protocols TLSv1.2 TLSv1.3; # the Go clients insist on 1.3
        ssl_certificate $STATIC_CERTIFICATE;
        ssl_certificate_key $etc/server.key;
        root $root;
        $lines
    }
}
CONF
    # The workers of an nginx started by root are another user, who must be able to read the tree.
    [ "$(id -u)" != 0 ] || sed -i '1i user root;' "$etc/nginx.conf"
    spawn "$CASE" nginx nginx -e stderr -c "$etc/nginx.conf" -p "$etc"
    wait_for 10 "nginx" port_open "$port"
}

# recorder_start: from now on URL leads through a proxy that writes down what came in plain and what over TLS, and into the
# file PLAIN every byte that went by in plain.
recorder_start() {
    local port
    RECORD=$CASE/record.jsonl
    PLAIN=$CASE/plain.bytes
    : >"$RECORD"
    port=$(free_port)
    # shellcheck disable=SC2153 # PORT is the server's
    spawn "$CASE" recorder python3 "$E2E/kit/recorder.py" "$port" "$PORT" "$RECORD" "$PLAIN"
    wait_for 10 "the recording proxy" port_open "$port"
    : >"$RECORD"
    # shellcheck disable=SC2034 # read by add_remote
    URL=https://127.0.0.1:$port
}

# recorded JQ-FILTER: over the list of what the recorder saw since it was last emptied (`: >"$RECORD"`).
recorded() { jq -rs "$1" "$RECORD"; }
