// Command authenticator-oracle answers who a principal is to a cluster with the authenticator's own code, for the
// differential test.
//
// It reads one JSON request a line and writes one JSON answer a line. From the authenticator come the reading of the
// ConfigMap (configmap.ParseMap), the keys under which entries are kept and matched (RoleMapping.Key, Matches, ...) and the
// ARN's canonical form (arn.Canonicalize). Three steps are not exported there and are written out here after its sources:
// the store's maps (pkg/mapper/configmap/configmap.go, saveMap), the order roles, users, account (mapper.go and
// pkg/server/server.go, doMapping) and the placeholders (server.go, renderTemplate). Where the authenticator takes the first
// match of a map in random order, every match is an answer here.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"sort"
	"strings"

	"github.com/sirupsen/logrus"
	"sigs.k8s.io/aws-iam-authenticator/pkg/arn"
	"sigs.k8s.io/aws-iam-authenticator/pkg/config"
	"sigs.k8s.io/aws-iam-authenticator/pkg/mapper/configmap"
)

type request struct {
	Data            map[string]string `json:"data"`
	Principals      []principal       `json:"principals"`
	SSORoleMatch    bool              `json:"sso_role_match"`
	ParseRepeatedly int               `json:"parse_repeatedly"`
}

type principal struct {
	ARN            string `json:"arn"`
	AccessKeyID    string `json:"access_key_id"`
	PrivateDNSName string `json:"private_dns_name"`
}

type answer struct {
	// Each of the ways that reading the ConfigMap went.
	Parsed []parsed `json:"parsed"`
	// The set of outcomes for each principal, sorted.
	Outcomes [][]outcome `json:"outcomes"`
}

type parsed struct {
	Roles    []config.RoleMapping `json:"roles"`
	Users    []config.UserMapping `json:"users"`
	Accounts []string             `json:"accounts"`
	Errors   bool                 `json:"errors"`
	Message  string               `json:"message"`
}

type outcome struct {
	Outcome  string   `json:"outcome"`
	Username string   `json:"username"`
	Groups   []string `json:"groups"`
}

func main() {
	logrus.SetOutput(io.Discard)
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	defer out.Flush()
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 1 {
			var req request
			if err := json.Unmarshal(line, &req); err != nil {
				fmt.Fprintln(os.Stderr, "authenticator-oracle: bad request:", err)
				os.Exit(2)
			}
			reply, err := json.Marshal(respond(req))
			if err != nil {
				fmt.Fprintln(os.Stderr, "authenticator-oracle:", err)
				os.Exit(1)
			}
			out.Write(reply)
			out.WriteByte('\n')
			// The asker may wait for this answer before it sends more.
			if in.Buffered() == 0 {
				out.Flush()
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "authenticator-oracle:", err)
			os.Exit(1)
		}
	}
}

func respond(req request) answer {
	config.SSORoleMatchEnabled = req.SSORoleMatch
	var a answer
	seen := map[string]bool{}
	for i := 0; i <= req.ParseRepeatedly; i++ {
		p := parse(req.Data)
		key, _ := json.Marshal(p)
		if !seen[string(key)] {
			seen[string(key)] = true
			a.Parsed = append(a.Parsed, p)
		}
	}
	for _, who := range req.Principals {
		set := map[string]outcome{}
		for _, p := range a.Parsed {
			for _, o := range decide(p, who) {
				key, _ := json.Marshal(o)
				set[string(key)] = o
			}
		}
		keys := make([]string, 0, len(set))
		for key := range set {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		outcomes := make([]outcome, 0, len(set))
		for _, key := range keys {
			outcomes = append(outcomes, set[key])
		}
		a.Outcomes = append(a.Outcomes, outcomes)
	}
	return a
}

func parse(data map[string]string) (p parsed) {
	defer func() {
		if r := recover(); r != nil {
			p = parsed{Errors: true, Message: fmt.Sprint("panic: ", r)}
		}
	}()
	users, roles, accounts, err := configmap.ParseMap(data)
	p = parsed{Roles: roles, Users: users, Accounts: accounts, Errors: err != nil}
	if err != nil {
		p.Message = err.Error()
	}
	return p
}

func decide(p parsed, who principal) []outcome {
	denied := []outcome{{Outcome: "denied", Groups: []string{}}}
	kind, canonical, err := arn.Canonicalize(who.ARN)
	if err != nil {
		return denied
	}
	// GetCallerIdentity's user id is ID:SESSION for assumed roles; the session is the ARN's last part.
	session := ""
	if kind == arn.ASSUMED_ROLE || kind == arn.ROLE {
		if kind == arn.ASSUMED_ROLE {
			session = who.ARN[strings.LastIndex(who.ARN, "/")+1:]
		}
		if strings.Contains(session, ":") {
			return denied
		}
	}
	account := strings.SplitN(who.ARN, ":", 6)[4]

	users := map[string]config.UserMapping{}
	for _, user := range p.Users {
		users[user.Key()] = user
	}
	roles := map[string]config.RoleMapping{}
	for _, role := range p.Roles {
		roles[role.Key()] = role
	}
	lowered := strings.ToLower(canonical)
	var all []outcome
	for _, role := range roles {
		if role.Matches(lowered) {
			all = append(all, render(role.Username, role.Groups, who, account, session))
		}
	}
	if len(all) > 0 {
		return all
	}
	for _, user := range users {
		if user.Matches(lowered) {
			all = append(all, render(user.Username, user.Groups, who, account, session))
		}
	}
	if len(all) > 0 {
		return all
	}
	for _, allowed := range p.Accounts {
		if allowed == account {
			return []outcome{{Outcome: "mapped", Username: canonical, Groups: []string{}}}
		}
	}
	return []outcome{{Outcome: "not-mapped", Groups: []string{}}}
}

var instanceID = regexp.MustCompile(`^i-(\w{8}|\w{17})$`)

func render(username string, groups []string, who principal, account, session string) outcome {
	one := func(template string) (string, bool) {
		if strings.Contains(template, "{{EC2PrivateDNSName}}") {
			if !instanceID.MatchString(session) {
				return "", false
			}
			template = strings.ReplaceAll(template, "{{EC2PrivateDNSName}}", who.PrivateDNSName)
		}
		template = strings.ReplaceAll(template, "{{AccountID}}", account)
		template = strings.ReplaceAll(template, "{{SessionName}}", strings.ReplaceAll(session, "@", "-"))
		template = strings.ReplaceAll(template, "{{SessionNameRaw}}", session)
		return strings.ReplaceAll(template, "{{AccessKeyID}}", who.AccessKeyID), true
	}
	o := outcome{Outcome: "mapped", Groups: []string{}}
	var ok bool
	if o.Username, ok = one(username); !ok {
		return outcome{Outcome: "denied", Groups: []string{}}
	}
	for _, group := range groups {
		rendered, ok := one(group)
		if !ok {
			return outcome{Outcome: "denied", Groups: []string{}}
		}
		o.Groups = append(o.Groups, rendered)
	}
	return o
}
