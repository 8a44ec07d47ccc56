package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// identity is one pair of keys and whose it is.
type identity struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
	SessionToken    string `json:"sessionToken"`
	ARN             string `json:"arn"`
	Account         string `json:"account"`
	UserID          string `json:"userId"`
}

func readIdentities(path string) (map[string]identity, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []identity
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	byKey := make(map[string]identity, len(list))
	for _, one := range list {
		byKey[one.AccessKeyID] = one
	}
	return byKey, nil
}

// The global endpoint and the regional ones of the partitions aws and aws-cn.
var stsHost = regexp.MustCompile(`^sts(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?$`)

// startSTS runs an HTTPS proxy on loopback that plays STS for the hosts of STS and refuses every other. It returns its
// address, and writes the CA that signs its certificates.
func startSTS(identities map[string]identity, caFile string) (string, error) {
	certificates, err := newCertificates(caFile)
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	sts := &http.Server{Handler: answer(identities), ReadHeaderTimeout: 10 * time.Second}
	tunnels := &tunnels{accepted: make(chan net.Conn)}
	go func() { _ = sts.Serve(tunnels) }()
	proxy := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, port, _ := strings.Cut(r.Host, ":")
		if r.Method != http.MethodConnect || port != "443" || !stsHost.MatchString(host) {
			http.Error(w, "nothing but STS is reached from here: "+r.Host, http.StatusForbidden)
			return
		}
		connection, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		if _, err := connection.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
			connection.Close()
			return
		}
		tunnels.accepted <- tls.Server(peeked{connection, buffered.Reader}, &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: certificates.forName,
		})
	})}
	go func() { _ = proxy.Serve(listener) }()
	return listener.Addr().String(), nil
}

// answer is GetCallerIdentity as STS answers it to `Accept: application/json`.
func answer(identities map[string]identity) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := verify(r, identities)
		w.Header().Set("Content-Type", "application/json")
		type object = map[string]any
		if err != nil {
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(object{
				"Error":     object{"Code": "SignatureDoesNotMatch", "Message": err.Error(), "Type": "Sender"},
				"RequestId": "00000000-0000-0000-0000-000000000000",
			})
			return
		}
		_ = json.NewEncoder(w).Encode(object{"GetCallerIdentityResponse": object{
			"GetCallerIdentityResult": object{"Account": who.Account, "Arn": who.ARN, "UserId": who.UserID},
			"ResponseMetadata":        object{"RequestId": "00000000-0000-0000-0000-000000000000"},
		}})
	})
}

// verify signs the request again, with the key that it names and the AWS SDK's signer, and compares.
func verify(r *http.Request, identities map[string]identity) (identity, error) {
	query := r.URL.Query()
	take := func(name string) string {
		value := query.Get(name)
		query.Del(name)
		return value
	}
	if take("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" {
		return identity{}, errors.New("not presigned with AWS4-HMAC-SHA256")
	}
	// KEY/DATE/REGION/SERVICE/aws4_request
	scope := strings.Split(take("X-Amz-Credential"), "/")
	if len(scope) != 5 || scope[3] != "sts" {
		return identity{}, errors.New("the credential scope is not one of STS")
	}
	who, known := identities[scope[0]]
	if !known {
		return identity{}, errors.New("the access key is not known")
	}
	if take("X-Amz-Security-Token") != who.SessionToken {
		return identity{}, errors.New("the session token is not the key's")
	}
	signedAt, err := time.Parse("20060102T150405Z", take("X-Amz-Date"))
	if err != nil {
		return identity{}, err
	}
	if age := time.Since(signedAt); age > 15*time.Minute || age < -5*time.Minute {
		return identity{}, errors.New("signed too long ago, or in the future")
	}
	given, headers := take("X-Amz-Signature"), take("X-Amz-SignedHeaders")

	again := &http.Request{Method: r.Method, Header: http.Header{}, Host: r.Host, URL: &url.URL{
		Scheme: "https", Host: r.Host, Path: r.URL.Path, RawQuery: query.Encode(),
	}}
	for _, name := range strings.Split(headers, ";") {
		if name != "host" {
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	nothing := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(context.Background(), aws.Credentials{
		AccessKeyID: who.AccessKeyID, SecretAccessKey: who.SecretAccessKey, SessionToken: who.SessionToken,
	}, again, hex.EncodeToString(nothing[:]), "sts", scope[2], signedAt)
	if err != nil {
		return identity{}, err
	}
	signedURL, err := url.Parse(signed)
	if err != nil {
		return identity{}, err
	}
	if subtle.ConstantTimeCompare([]byte(signedURL.Query().Get("X-Amz-Signature")), []byte(given)) != 1 {
		return identity{}, errors.New("the signature is not what the key makes of this request")
	}
	return who, nil
}

// tunnels is a listener whose connections come out of CONNECT requests.
type tunnels struct {
	accepted chan net.Conn
}

func (t *tunnels) Accept() (net.Conn, error) { return <-t.accepted, nil }
func (t *tunnels) Close() error              { return nil }
func (t *tunnels) Addr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// peeked is a connection of which some bytes were read already.
type peeked struct {
	net.Conn
	buffered *bufio.Reader
}

func (p peeked) Read(into []byte) (int, error) { return p.buffered.Read(into) }

// certificates signs one for whatever host a client asks for.
type certificates struct {
	ca    *x509.Certificate
	caKey *ecdsa.PrivateKey
}

func newCertificates(caFile string) (*certificates, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "testbed-sts-ca"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &certificates{ca, key}, os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func (c *certificates) forName(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if !stsHost.MatchString(hello.ServerName) {
		return nil, fmt.Errorf("no certificate for %q", hello.ServerName)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: hello.ServerName},
		DNSNames:     []string{hello.ServerName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, c.ca, key.Public(), c.caKey)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
