# shellcheck shell=bash
# Other people's web servers around the product: nginx for exported trees, and a recording proxy in front of a server.

# static_server FOLDER: serves it over TLS, and refuses what comes in plain. Sets STATIC_URL and STATIC_CERTIFICATE.
# shellcheck disable=SC2034 # the cases read them
static_server() {
    local root=$1 port etc=$CASE/nginx
    port=$(free_port)
    STATIC_URL=https://127.0.0.1:$port
    STATIC_CERTIFICATE=$etc/server.crt
    mkdir -p "$etc"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
        -addext subjectAltName=IP:127.0.0.1 -keyout "$etc/server.key" -out "$STATIC_CERTIFICATE" 2>/dev/null
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
    }
}
CONF
    # The workers of an nginx started by root are another user, who must be able to read the tree.
    [ "$(id -u)" != 0 ] || sed -i '1i user root;' "$etc/nginx.conf"
    spawn "$CASE" nginx nginx -e stderr -c "$etc/nginx.conf" -p "$etc"
    wait_for 10 "nginx" port_open "$port"
}

# recorder_start: from now on URL leads through a proxy that writes down what came in plain and what over TLS.
recorder_start() {
    local port
    RECORD=$CASE/record.jsonl
    : >"$RECORD"
    port=$(free_port)
    # shellcheck disable=SC2153 # PORT is the server's
    spawn "$CASE" recorder python3 "$E2E/kit/recorder.py" "$port" "$PORT" "$RECORD"
    wait_for 10 "the recording proxy" port_open "$port"
    : >"$RECORD"
    # shellcheck disable=SC2034 # read by add_remote
    URL=https://127.0.0.1:$port
}

# recorded JQ-FILTER: over the list of what the recorder saw since it was last emptied (`: >"$RECORD"`).
recorded() { jq -rs "$1" "$RECORD"; }
