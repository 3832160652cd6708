package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"drctl/internal/fail"
)

// An encrypted object is
//
//	age( skippable zstd frame holding a JSON header || zstd frames of the content )
//
// so that `age -d | zstd -d` gives the content. The header names the object's
// own key, which is what finds an object that was copied over another.
const (
	skippableMagic  = 0x184D2A50
	envelopeVersion = 1
	maxHeader       = 64 << 10
	// maxEnvelope bounds the part of age before the content: one recipient is
	// 200 bytes.
	maxEnvelope = 64 << 10
	// maxWindow is how far back a zstd frame may refer, which is memory in the
	// reader. It is what RFC 8878 asks decoders to support; drctl writes 4 MiB.
	maxWindow = 8 << 20
	// maxRecord bounds what is read whole: records, reports, small files. What is
	// compressed can be ten thousand times its size in the store.
	maxRecord = 16 << 20
)

type header struct {
	V    int               `json:"v"`
	Key  string            `json:"key"`
	Meta map[string]string `json:"meta,omitempty"`
}

// encodeHeader renders the skippable frame.
func encodeHeader(key string, meta map[string]string) ([]byte, error) {
	js, err := json.Marshal(header{V: envelopeVersion, Key: key, Meta: meta})
	if err != nil || len(js) > maxHeader {
		return nil, fail.Newf(fail.Invalid, "vault: encrypt", key, "header of %d bytes is over the limit of %d", len(js), maxHeader)
	}
	b := binary.LittleEndian.AppendUint32(nil, skippableMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(js)))

	return append(b, js...), nil
}

// readHeader reads the skippable frame and leaves r at the content.
func readHeader(r io.Reader) (header, error) {
	var h header

	var fixed [8]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return h, fmt.Errorf("header: %w", err)
	}

	if m := binary.LittleEndian.Uint32(fixed[:]); m != skippableMagic {
		return h, fmt.Errorf("header: magic %08X is not that of an encrypted object", m)
	}

	n := binary.LittleEndian.Uint32(fixed[4:])
	if n > maxHeader {
		return h, fmt.Errorf("header: %d bytes is over the limit of %d", n, maxHeader)
	}

	js := make([]byte, n)
	if _, err := io.ReadFull(r, js); err != nil {
		return h, fmt.Errorf("header: %w", err)
	}

	if err := json.Unmarshal(js, &h); err != nil {
		return h, fmt.Errorf("header: %w", err)
	}

	if h.V != envelopeVersion {
		return h, fmt.Errorf("header: version %d is not known to this program", h.V)
	}

	return h, nil
}

// Coders are pooled: making one costs more than encrypting a small chunk.
var encoders = sync.Pool{New: func() any {
	// The options are constant and valid, so there is no error to see.
	e, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderCRC(true), zstd.WithZeroFrames(true), zstd.WithLowerEncoderMem(true))
	return e
}}

var decoders = sync.Pool{New: func() any {
	d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	return d
}}

// EncryptTo encrypts what r gives, to its end, for the key. The output is whole
// only when the error is nil.
func (v *Vault) EncryptTo(w io.Writer, key string, meta map[string]string, r io.Reader) error {
	head, err := encodeHeader(key, meta)
	if err != nil {
		return err
	}

	aw, err := age.Encrypt(w, v.key.id.Recipient())
	if err != nil {
		return fail.From(fail.Internal, "vault: encrypt", key, err)
	}

	if _, err := aw.Write(head); err != nil {
		return fail.From(fail.Internal, "vault: encrypt", key, err)
	}
	enc := encoders.Get().(*zstd.Encoder)
	enc.Reset(aw)

	_, err = io.Copy(enc, r)
	if e := enc.Close(); err == nil {
		err = e
	}

	enc.Reset(nil)
	encoders.Put(enc)

	if err == nil {
		err = aw.Close()
	}

	if err != nil {
		return fail.From(fail.Internal, "vault: encrypt", key, err)
	}

	return nil
}

// Encrypt is EncryptTo in memory.
func (v *Vault) Encrypt(key string, meta map[string]string, content []byte) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(len(content)/2 + 1024)

	if err := v.EncryptTo(&b, key, meta, bytes.NewReader(content)); err != nil {
		return nil, err
	}

	return b.Bytes(), nil
}

// Decrypt opens the encrypted object under key and returns its content and meta.
// When Read has returned io.EOF, every byte has been authenticated and belongs
// to this key; until then content may be cut short. An error of code corrupt
// names the key and the damage.
func (v *Vault) Decrypt(ctx context.Context, key string) (io.ReadCloser, map[string]string, error) {
	src, err := v.store.Get(ctx, key)
	if err != nil {
		return nil, nil, err
	}

	r, meta, err := v.decryptFrom(key, src)
	if err != nil {
		_ = src.Close()
		return nil, nil, err
	}

	return r, meta, nil
}

// ReadEncrypted decrypts a small object whole: one of more than 16 MiB is corrupt,
// whatever it holds.
func (v *Vault) ReadEncrypted(ctx context.Context, key string) ([]byte, map[string]string, error) {
	r, meta, err := v.Decrypt(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()

	b, err := io.ReadAll(io.LimitReader(r, maxRecord+1))
	if err != nil {
		return nil, nil, err
	}

	if len(b) > maxRecord {
		return nil, nil, fail.Newf(fail.Corrupt, "vault: decrypt", v.store.URL()+"/"+key, "holds more than %d MiB, which no record does", maxRecord>>20)
	}

	return b, meta, nil
}

// decryptFrom reads an encrypted object from src, which the result closes.
func (v *Vault) decryptFrom(key string, src io.ReadCloser) (*decrypter, map[string]string, error) {
	d := &decrypter{subject: v.store.URL() + "/" + key, src: src, from: &sourceReader{r: src, left: maxEnvelope}}
	plain, err := age.Decrypt(d.from, v.key.id)

	d.from.left = -1
	if err != nil {
		var other *age.NoIdentityMatchError
		if errors.As(err, &other) {
			err = errors.New("encrypted to another key than the vault's")
		}

		return nil, nil, d.fail(err)
	}

	h, err := readHeader(plain)
	if err != nil {
		return nil, nil, d.fail(err)
	}

	if h.Key != key {
		return nil, nil, d.fail(fmt.Errorf("holds the object of %q: it was copied or moved here", h.Key))
	}
	d.plain = plain

	d.dec = decoders.Get().(*zstd.Decoder)
	if err := d.dec.Reset(plain); err != nil {
		return nil, nil, d.fail(err)
	}

	return d, h.Meta, nil
}

// sourceReader remembers an error of the transport, which is no damage.
type sourceReader struct {
	r    io.Reader
	left int // bytes that may be read; -1 is all
	err  error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, fmt.Errorf("the header of age is longer than %d bytes", maxEnvelope)
	}

	if s.left > 0 {
		p = p[:min(len(p), s.left)]
	}

	n, err := s.r.Read(p)
	if s.left > 0 {
		s.left -= n
	}

	if err != nil && err != io.EOF {
		s.err = err
	}

	return n, err
}

type decrypter struct {
	subject string
	src     io.Closer
	from    *sourceReader
	plain   io.Reader
	dec     *zstd.Decoder
	err     error
}

func (d *decrypter) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}

	n, err := d.dec.Read(p)
	if err == io.EOF {
		// The decoder stopped between frames; the last authenticated byte must
		// have been reached as well.
		var one [1]byte
		if k, e := io.ReadFull(d.plain, one[:]); k != 0 || e != io.EOF {
			err = d.fail(fmt.Errorf("bytes after the end: %v", e))
		}
	} else if err != nil {
		err = d.fail(err)
	}
	d.err = err

	return n, err
}

func (d *decrypter) Close() error {
	if d.dec != nil {
		_ = d.dec.Reset(nil)
		decoders.Put(d.dec)
		d.dec = nil
	}
	d.err = errors.Join(d.err, errors.New("read after close"))

	return d.src.Close()
}

func (d *decrypter) fail(err error) error {
	if d.from.err != nil {
		return fail.From(fail.Unavailable, "vault: read", d.subject, d.from.err)
	}

	return fail.New(fail.Corrupt, "vault: decrypt", d.subject,
		"the object is damaged or was replaced; repair it from another region's vault or from an older version of the bucket", err)
}
