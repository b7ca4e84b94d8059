# Generate CA
openssl req -x509 -newkey rsa:4096 -keyout ca-key.pem -out ca-cert.pem \
-days 365 -nodes -subj "/CN=agenthub-ca"

# Generate server cert for remote node
openssl req -newkey rsa:4096 -keyout node-key.pem -out node-csr.pem \
-nodes -subj "/CN=node1.internal"

openssl x509 -req -in node-csr.pem -CA ca-cert.pem -CAkey ca-key.pem \
-out node-cert.pem -days 365 -CAcreateserial
