package lab

import (
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/redis/go-redis/v9"

	"drctl/targets"
)

// redisClient is a client that tries each command once: what a repeat would do
// is for the caller to know.
func redisClient(in targets.Instance) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: in.Address, Username: in.User, Password: in.Password.Reveal(), Protocol: 2,
		MaxRetries: -1, PoolSize: 2, DialTimeout: 3 * time.Second, ReadTimeout: 10 * time.Second, DisableIdentity: true})
}

func s3Client(in targets.Instance) *s3.Client {
	return s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: aws.String(in.Address), UsePathStyle: true,
		Credentials:      credentials.NewStaticCredentialsProvider(in.User, in.Password.Reveal(), ""),
		HTTPClient:       &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second}},
		RetryMaxAttempts: 2})
}
