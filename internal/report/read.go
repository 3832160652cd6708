package report

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"drctl/internal/fail"
	"drctl/internal/report/evidence"
	"drctl/internal/vault"
)

// Read returns the record of a drill from the first of the regions' vaults that
// holds it, else from its file, which is on the host of the worker that wrote it.
// Nothing is believed that has not the id and the content hash: it is
// fail.Corrupt, and the next place is asked. Errors name every place.
func Read(ctx context.Context, open func(context.Context, string) (*vault.Vault, error), regions []string, file, id, sha256 string) (json.RawMessage, error) {
	var errs []error

	take := func(doc json.RawMessage, err error) json.RawMessage {
		if err == nil {
			_, err = evidence.VerifyAs(doc, id, sha256)
		}

		if err != nil {
			errs = append(errs, err)
			return nil
		}

		return doc
	}

	for _, region := range regions {
		var doc json.RawMessage

		v, err := open(ctx, region)
		if err == nil {
			err = v.Report(ctx, "drill", id, &doc)
		}

		if doc := take(doc, err); doc != nil {
			return doc, nil
		}
	}

	doc, err := os.ReadFile(file)
	if doc := take(doc, err); doc != nil {
		return doc, nil
	}

	return nil, fail.New(fail.CodeOf(errs[0]), "drill: read the record", id, "look for it on the worker's host: "+file, errors.Join(errs...))
}
