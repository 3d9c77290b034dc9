package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The goldens come from Hugging Face's tokenizers; tools/golden writes them.
const goldenDir = "../../testdata/golden/tokenizer"

// golden is one text, or one list of ids, with what the reference makes of it.
type golden struct {
	Text               string  `json:"text"`
	IDs                []int32 `json:"ids"`
	PlainIDs           []int32 `json:"plain_ids"`
	Decoded            string  `json:"decoded"`
	DecodedSkipSpecial string  `json:"decoded_skip_special"`
	PlainDecoded       string  `json:"plain_decoded"`
}

func readGoldens(t testing.TB, name string, atLeast int) []golden {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(goldenDir, name))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []golden }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(file.Cases) < atLeast {
		t.Fatalf("%s: only %d cases", name, len(file.Cases))
	}
	return file.Cases
}

func loadGolden(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := Load(filepath.Join(goldenDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestGoldenEncode(t *testing.T) {
	for _, name := range []string{"tokenizer.json", "tokenizer-string-merges.json"} {
		tok := loadGolden(t, name)
		for _, c := range readGoldens(t, "encode.json", 150) {
			if got := tok.Encode(c.Text); !slices.Equal(got, c.IDs) {
				t.Errorf("%s: %+q\n got %v\nwant %v", name, c.Text, got, c.IDs)
			}
			if got := tok.EncodePlain(c.Text); !slices.Equal(got, c.PlainIDs) {
				t.Errorf("%s: %+q: plain\n got %v\nwant %v", name, c.Text, got, c.PlainIDs)
			}
			checkDecode(t, tok, c)
			if got := tok.Decode(c.PlainIDs, false); got != c.PlainDecoded {
				t.Errorf("%s: plain %v decodes to %+q, want %+q", name, c.PlainIDs, got, c.PlainDecoded)
			}
		}
	}
}

func TestGoldenDecode(t *testing.T) {
	tok := loadGolden(t, "tokenizer.json")
	for _, c := range readGoldens(t, "decode.json", 100) {
		checkDecode(t, tok, c)
	}
}

// checkDecode decodes c.IDs at once and as a stream, with and without special tokens.
func checkDecode(t *testing.T, tok *Tokenizer, c golden) {
	t.Helper()
	for skip, want := range map[bool]string{false: c.Decoded, true: c.DecodedSkipSpecial} {
		if got := tok.Decode(c.IDs, skip); got != want {
			t.Errorf("%v, skip %v: got %+q, want %+q", c.IDs, skip, got, want)
		}
		if got := streamed(tok, c.IDs, skip); got != want {
			t.Errorf("%v, skip %v: streamed %+q, want %+q", c.IDs, skip, got, want)
		}
	}
}
