package s3client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

// DefaultRegion is what requests are signed for when nobody names a region.
const DefaultRegion = "us-east-1"

// Options say which server and with which keys.
type Options struct {
	// Endpoint is a URL, or a bare host:port for plain HTTP; "" is AWS itself.
	Endpoint string
	// Region is signed for; "" takes that of the environment, then DefaultRegion.
	Region string
	// AccessKey and SecretKey; without them those of the environment count.
	AccessKey, SecretKey string
	// Roots prove an HTTPS server; nil are those of the system.
	Roots *x509.CertPool
	// Connections is how many stay open between requests.
	Connections int
	// RetryAlways lets every call retry, also after many others have failed: for
	// servers whose outage must not turn the failure of one object into that of all.
	RetryAlways bool
}

// New prepares a client and does not connect. It fails only when Options hold no
// keys and the environment's cannot be read.
func New(ctx context.Context, opt Options) (*s3.Client, error) {
	o := s3.Options{
		Region:       opt.Region,
		UsePathStyle: opt.Endpoint != "",
		HTTPClient:   &http.Client{Transport: transport(opt)},
	}
	if opt.Endpoint != "" {
		o.BaseEndpoint = aws.String(URL(opt.Endpoint))
	}

	if opt.AccessKey != "" {
		o.Credentials = credentials.NewStaticCredentialsProvider(opt.AccessKey, opt.SecretKey, "")
	} else {
		cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(opt.Region), config.WithLogger(logging.Nop{})) // its warnings know no run or shard; errors say it all
		if err != nil {
			return nil, err
		}
		o.Credentials, o.Region = cfg.Credentials, cfg.Region
	}

	if o.Region == "" {
		o.Region = DefaultRegion
	}

	// Every write carries Content-MD5 instead of the SDK's own checksum. Over
	// HTTPS the signature does not cover the payload, so that without a checksum
	// nothing shows that a server stores what was sent, and a bucket with object
	// lock refuses the write. Content-MD5 is what every S3 server has known from
	// the beginning; the SDK's CRC32 comes in a trailer of a body in chunks, which
	// many do not take. It is no protection against an attacker.
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	o.DisableLogOutputChecksumValidationSkipped = true

	o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = 4

		r.MaxBackoff = 4 * time.Second
		if opt.RetryAlways {
			r.RateLimiter = noLimit{}
		}
	})

	return s3.New(o), nil
}

// Close gives up the client's idle connections.
func Close(c *s3.Client) {
	if h, ok := c.Options().HTTPClient.(*http.Client); ok {
		h.CloseIdleConnections()
	}
}

func transport(opt Options) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: opt.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		MaxIdleConnsPerHost:   opt.Connections,
		IdleConnTimeout:       30 * time.Second,
		DisableCompression:    true, // content encodings are part of the object
	}
}

// URL takes a bare host:port for plain HTTP: that is what the sandbox calls its
// servers.
func URL(endpoint string) string {
	if strings.Contains(endpoint, "://") {
		return endpoint
	}

	return "http://" + endpoint
}

// noLimit is a retry budget that never ends.
type noLimit struct{}

func (noLimit) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}

func (noLimit) AddTokens(uint) error { return nil }
