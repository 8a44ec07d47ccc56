package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/controller/clusterroleaggregation"
)

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// The users of the static token file. The API server adds system:authenticated to each.
var users = []struct{ name, group string }{
	{"admin", "system:masters"},
	{"viewer", "testbed:viewers"},
	{"nobody", "testbed:nobodies"},
}

// cluster is an API server that is ready to be served, and what there is to know about it.
type cluster struct {
	options *options.ServerRunOptions
	facts   ready
	caPEM   []byte
}

// prepareCluster writes the certificates, keys, tokens and policies that the API server starts with.
func prepareCluster(dir, etcdURL string, s settings) (*cluster, error) {
	in := func(name string) string { return filepath.Join(dir, name) }

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port

	caKey, err := newKey(in("ca.key"))
	if err != nil {
		return nil, err
	}
	ca, caPEM, err := newCertificate("testbed-ca", nil, caKey, nil, caKey)
	if err != nil {
		return nil, err
	}
	if err := writeServing(in, append([]string{"127.0.0.1", "localhost"}, s.hosts...), ca, caKey, caPEM); err != nil {
		return nil, err
	}
	if _, err := newKey(in("service-account.key")); err != nil {
		return nil, err
	}
	if err := os.WriteFile(in("audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return nil, err
	}
	tokens, err := writeTokens(in("tokens.csv"))
	if err != nil {
		return nil, err
	}
	auditLog := s.auditLog
	if auditLog == "" {
		auditLog = in("audit.log")
	}

	args := []string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + in("server.crt"),
		"--tls-private-key-file=" + in("server.key"),
		"--authorization-mode=RBAC",
		"--token-auth-file=" + in("tokens.csv"),
		"--service-cluster-ip-range=10.0.0.0/16",
		"--service-account-issuer=https://testbed.invalid",
		"--service-account-key-file=" + in("service-account.key"),
		"--service-account-signing-key-file=" + in("service-account.key"),
		// No controller makes service accounts or endpoints here, so nothing may wait for them.
		"--disable-admission-plugins=ServiceAccount",
		"--endpoint-reconciler-type=none",
		"--audit-policy-file=" + in("audit-policy.yaml"),
		"--audit-log-path=" + auditLog,
		"--audit-log-mode=blocking-strict",
		"--v=" + strconv.Itoa(s.verbosity),
	}
	if s.tokenWebhook != "" {
		args = append(args,
			"--authentication-token-webhook-config-file="+s.tokenWebhook,
			"--authentication-token-webhook-cache-ttl=0s",
		)
	}
	serverOptions := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	named := serverOptions.Flags()
	for _, set := range named.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	serverOptions.SecureServing.Listener = listener

	return &cluster{
		options: serverOptions,
		caPEM:   caPEM,
		facts: ready{
			URL:      "https://" + listener.Addr().String(),
			CAFile:   in("ca.crt"),
			CA:       string(caPEM),
			Version:  version.Get().GitVersion,
			PID:      os.Getpid(),
			Tokens:   tokens,
			AuditLog: auditLog,
		},
	}, nil
}

func writeServing(in func(string) string, hosts []string, ca *x509.Certificate, caKey *ecdsa.PrivateKey, caPEM []byte) error {
	key, err := newKey(in("server.key"))
	if err != nil {
		return err
	}
	_, certificate, err := newCertificate("testbed-apiserver", hosts, key, ca, caKey)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(in("ca.crt"), caPEM, 0o644),
		os.WriteFile(in("server.crt"), append(certificate, caPEM...), 0o644),
	)
}

func writeTokens(path string) (map[string]string, error) {
	tokens := make(map[string]string, len(users))
	var lines strings.Builder
	for _, user := range users {
		token, err := newToken()
		if err != nil {
			return nil, err
		}
		tokens[user.name] = token
		fmt.Fprintf(&lines, "%s,%s,uid-%s,%q\n", token, user.name, user.name, user.group)
	}
	return tokens, os.WriteFile(path, []byte(lines.String()), 0o600)
}

// serve runs the API server until ctx ends.
func (c *cluster) serve(ctx context.Context) error {
	// The registry applies feature gates and versions; the real command does it before it runs.
	if err := c.options.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	if err := logsapi.ValidateAndApply(c.options.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	completed, err := c.options.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return errors.Join(errs...)
	}
	return app.Run(ctx, completed)
}

func (c *cluster) restConfig() *rest.Config {
	return &rest.Config{
		Host:            c.facts.URL,
		BearerToken:     c.facts.Tokens["admin"],
		TLSClientConfig: rest.TLSClientConfig{CAData: c.caPEM},
		QPS:             100,
		Burst:           200,
	}
}

func (c *cluster) client() (*kubernetes.Clientset, error) {
	return kubernetes.NewForConfig(c.restConfig())
}

// waitUntilReady returns when /readyz is ok, the aggregated roles are filled and the viewer may view.
func (c *cluster) waitUntilReady(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var last error
	err = poll(ctx, func() bool {
		_, last = client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return last == nil
	})
	if err != nil {
		return fmt.Errorf("/readyz: %w", errors.Join(last, err))
	}

	factory := informers.NewSharedInformerFactory(client, 0)
	aggregation := clusterroleaggregation.NewClusterRoleAggregation(factory.Rbac().V1().ClusterRoles(), client.RbacV1())
	background := context.WithoutCancel(ctx)
	factory.Start(background.Done())
	go aggregation.Run(background, 2)

	if err := bindViewer(ctx, client); err != nil {
		return err
	}
	err = poll(ctx, func() bool {
		var view *rbacv1.ClusterRole
		view, last = client.RbacV1().ClusterRoles().Get(ctx, "view", metav1.GetOptions{})
		return last == nil && len(view.Rules) > 0
	})
	if err != nil {
		return fmt.Errorf("the ClusterRole view was not filled: %w", errors.Join(last, err))
	}
	return nil
}

func poll(ctx context.Context, done func() bool) error {
	return wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) { return done(), nil })
}

// bindViewer gives the viewer what people who look after a cluster's workloads usually have: `view`, and besides it
// the right to read the aws-auth ConfigMap by name.
func bindViewer(ctx context.Context, client kubernetes.Interface) error {
	group := []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "testbed:viewers"}}
	_, bound := client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "testbed-viewers"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   group,
	}, metav1.CreateOptions{})
	_, role := client.RbacV1().Roles("kube-system").Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "testbed-aws-auth-reader"},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"aws-auth"}, Verbs: []string{"get"},
		}},
	}, metav1.CreateOptions{})
	_, roleBound := client.RbacV1().RoleBindings("kube-system").Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "testbed-aws-auth-readers"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "testbed-aws-auth-reader"},
		Subjects:   group,
	}, metav1.CreateOptions{})
	var failed []error
	for _, err := range []error{bound, role, roleBound} {
		if err != nil && !apierrors.IsAlreadyExists(err) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (c *cluster) writeKubeconfig(path string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["testbed"] = &clientcmdapi.Cluster{Server: c.facts.URL, CertificateAuthorityData: c.caPEM}
	for name, token := range c.facts.Tokens {
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
		config.Contexts[name] = &clientcmdapi.Context{Cluster: "testbed", AuthInfo: name}
	}
	config.CurrentContext = "admin"
	return clientcmd.WriteToFile(*config, path)
}
