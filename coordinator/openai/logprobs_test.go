package openai

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/coordinator/sample"
)

func TestLogprobsAreAlwaysNumbers(t *testing.T) {
	s, _ := newServer(t, "")
	for _, value := range []float64{math.Inf(-1), math.NaN(), -1e30} {
		token := engine.TokenLogprob{Token: 'a', Logprob: float32(value), Top: []sample.Alternative{
			{Token: 'b', Logprob: float32(value)}, {Token: 'a', Logprob: float32(value)},
		}}
		chat, err := json.Marshal(s.chatLogprobs(&params{logprobs: 20}, []tokenProb{{TokenLogprob: token}}))
		const wantChat = `{"content":[{"token":"a","logprob":-9999,"bytes":[97],"top_logprobs":[` +
			`{"token":"b","logprob":-9999,"bytes":[98]},{"token":"a","logprob":-9999,"bytes":[97]}]}]}`
		if err != nil || string(chat) != wantChat {
			t.Errorf("%v: %s (%v)", value, chat, err)
		}
		text, err := json.Marshal(
			s.textLogprobs(&params{logprobs: 20}, &textOffset{}, []engine.TokenLogprob{token}, false))
		const wantText = `{"tokens":["a"],"token_logprobs":[-9999],` +
			`"top_logprobs":[{"b":-9999,"a":-9999}],"text_offset":[0]}`
		if err != nil || string(text) != wantText {
			t.Errorf("%v: %s (%v)", value, text, err)
		}
	}
}
