package trial

import (
	"context"
	"errors"
	"io"

	"github.com/google/uuid"

	"drctl/internal/fail"
	"drctl/internal/vault"
)

// prefix is where Try writes. Nothing else of a vault begins with it.
const prefix = "trial-"

// Try does once, with an object of its own, all that archiving and retention
// do: write, refuse to write over what is there, list, read and remove. It
// returns everything that is not possible, and leaves nothing behind but what
// it says that it could not remove.
func Try(ctx context.Context, s vault.Store) []error {
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	key := prefix + uuid.NewString()
	body := []byte("drctl tries whether it may write here\n")

	written := s.Put(ctx, key, body)
	note(written)

	if written == nil {
		note(tryOver(ctx, s, key))
		note(read(ctx, s, key))
	}

	for _, err := range s.List(ctx, prefix, "") {
		if err != nil {
			note(err)
		}

		break
	}

	// A cancelled trial must not leave its object. Without one the right to
	// remove is asked for all the same.
	if err := s.Delete(context.WithoutCancel(ctx), key); err != nil {
		var fe *fail.Error
		if written == nil && errors.As(err, &fe) {
			fe.Hint = "allow this access key to delete too, and remove this object by hand"
		}

		note(err)
	}

	return errs
}

// tryOver writes over an object, which must be refused: that nothing is ever
// written over is what several writers of one vault rely on.
func tryOver(ctx context.Context, s vault.Store, key string) error {
	err := s.Put(ctx, key, []byte("this must be refused\n"))
	if err == nil {
		return fail.New(fail.Unsupported, "vault: write", s.URL()+"/"+key, "use an S3 server that honours If-None-Match on puts",
			errors.New("an object that exists was written over"))
	}

	if fail.Is(err, fail.Conflict) {
		return nil
	}

	return err
}

func read(ctx context.Context, s vault.Store, key string) error {
	r, err := s.Get(ctx, key)
	if err != nil {
		return err
	}
	defer r.Close()

	if _, err := io.Copy(io.Discard, r); err != nil {
		return fail.From(fail.Unavailable, "vault: read", s.URL()+"/"+key, err)
	}

	return nil
}
