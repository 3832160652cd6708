package command

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/tlsconf"
	"drctl/targets"
)

// Request is a hook over HTTP.
type Request struct {
	// Method is GET for read and POST for the others when left out.
	Method string
	// URL may hold {region}, {route} and {was}.
	URL string
	// Body is sent as JSON; "" is an object with hook, route, region, was and, for
	// undo, state. GET has none.
	Body string
}

// HTTPSpec is a route that requests move.
type HTTPSpec struct {
	Spec
	Requests map[string]Request
	// Headers are sent with every request, such as Authorization.
	Headers map[string]targets.Secret
	CAFile  string
}

// NewHTTP checks a route's configuration. It sends nothing.
func NewHTTP(s HTTPSpec) (*Driver, error) {
	const op = "traffic: http"
	for hook, r := range s.Requests {
		u, err := url.Parse(r.URL)
		if !slices.Contains(Hooks, hook) || err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return nil, fail.Newf(fail.Invalid, op, s.Route.String(), "hook %q: it needs the URL of a server, without a password", hook)
		}
	}

	roots, err := tlsconf.Roots(op, s.CAFile)
	if err != nil {
		return nil, err
	}

	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second}

	return newDriver(s.Spec, requests{s, &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}})
}

type requests struct {
	HTTPSpec
	client *http.Client
}

func (r requests) has(hook string) bool { return r.Requests[hook].URL != "" }

func (r requests) close() { r.client.CloseIdleConnections() }

func (r requests) secrets() []targets.Secret { return slices.Collect(maps.Values(r.Headers)) }

// run sends the request; every answer but 2xx is an error.
func (r requests) run(ctx context.Context, c call) (string, error) {
	q, err := r.request(ctx, c)
	if err != nil {
		return "", err
	}

	answer, err := r.client.Do(q)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL may hold what is nobody's business
		}

		return "", err
	}
	defer answer.Body.Close()

	b, err := io.ReadAll(io.LimitReader(answer.Body, maxOutput+1))
	if err != nil {
		return "", err
	}

	text := string(b[:min(len(b), maxOutput)])
	switch {
	case answer.StatusCode < 200 || answer.StatusCode > 299:
		return text, fmt.Errorf("%s answered %s", q.URL.Host, answer.Status)
	case len(b) > maxOutput:
		return text, fmt.Errorf("%s answered with more than %d KiB", q.URL.Host, maxOutput>>10)
	}

	return text, nil
}

func (r requests) request(ctx context.Context, c call) (*http.Request, error) {
	spec := r.Requests[c.hook]

	method := spec.Method
	switch {
	case method == "" && c.hook == Read:
		method = http.MethodGet
	case method == "":
		method = http.MethodPost
	}

	var body io.Reader
	if method != http.MethodGet {
		text, err := r.body(spec, c)
		if err != nil {
			return nil, err
		}
		body = strings.NewReader(text)
	}

	escaped := strings.NewReplacer("{region}", url.QueryEscape(c.region), "{route}", url.QueryEscape(r.Route.Name), "{was}", url.QueryEscape(c.was))

	q, err := http.NewRequestWithContext(ctx, method, escaped.Replace(spec.URL), body)
	if err != nil {
		return nil, err
	}

	for name, secret := range r.Headers {
		q.Header.Set(name, secret.Reveal())
	}

	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}

	return q, nil
}

func (r requests) body(spec Request, c call) (string, error) {
	if spec.Body != "" {
		return strings.NewReplacer("{region}", c.region, "{route}", r.Route.Name, "{was}", c.was).Replace(spec.Body), nil
	}

	b, err := json.Marshal(struct {
		Hook   string          `json:"hook"`
		Route  string          `json:"route"`
		Region string          `json:"region,omitempty"`
		Was    string          `json:"was,omitempty"`
		State  json.RawMessage `json:"state,omitempty"`
	}{c.hook, r.Route.Name, c.region, c.was, c.state})

	return string(b), err
}
