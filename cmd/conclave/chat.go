package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/term"

	"github.com/conclave-serve/conclave/internal/client"
)

// chatCommand is a conversation in the terminal.
type chatCommand struct {
	keyFlag
	URL         string   `help:"Address of a coordinator." default:"http://127.0.0.1:8080"`
	System      string   `help:"System prompt."`
	Temperature *float64 `help:"Sampling temperature; default: the model's."`
	Seed        *int64   `help:"Seed of the sampling; default: a new one each time."`
	MaxTokens   int      `help:"Longest answer; 0: the model's context." default:"0"`
	Thinking    bool     `help:"Let the model think before it answers." default:"true" negatable:""`

	stopAnswer atomic.Pointer[context.CancelFunc] // of the answer that is being printed
}

// maxInput bounds a line of input.
const maxInput = 1 << 20

// Run implements kong's command.
func (f *chatCommand) Run(ctx context.Context) error {
	c := client.New(f.URL, f.key())
	model, err := c.Model(ctx)
	if err != nil {
		return err
	}
	interactive := term.IsTerminal(int(os.Stdin.Fd()))
	if interactive {
		fmt.Printf("Talking to %s. /reset forgets the conversation, /quit ends it, "+
			"Ctrl-C stops an answer.\n", model)
	}
	f.handleInterrupts()
	history := f.start()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, maxInput)
	for {
		if interactive {
			fmt.Print("\n> ")
		}
		if !lines.Scan() {
			if interactive {
				fmt.Println()
			}
			return lines.Err()
		}
		switch line := strings.TrimSpace(lines.Text()); line {
		case "":
		case "/quit", "/exit":
			return nil
		case "/reset":
			history = f.start()
		default:
			asked := append(history, client.Message{Role: "user", Content: line})
			answer, err := f.answer(c, model, asked)
			if err != nil && !interactive {
				return err
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "conclave:", err)
			}
			if answer != "" {
				history = append(asked, client.Message{Role: "assistant", Content: answer})
			}
		}
	}
}

func (f *chatCommand) start() []client.Message {
	if f.System == "" {
		return nil
	}
	return []client.Message{{Role: "system", Content: f.System}}
}

// handleInterrupts makes Ctrl-C end the answer that is being printed, or the
// conversation if there is none. SIGTERM ends the conversation, which waits for
// a line of input and would not hear of a context.
func (f *chatCommand) handleInterrupts() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range signals {
			stop := f.stopAnswer.Swap(nil)
			if stop == nil || s == syscall.SIGTERM {
				fmt.Println()
				os.Exit(0)
			}
			(*stop)()
		}
	}()
}

// answer prints one answer as it comes and returns its text.
func (f *chatCommand) answer(
	c *client.Client, model string, messages []client.Message,
) (string, error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	f.stopAnswer.Store(&stop)
	defer f.stopAnswer.Store(nil)
	var text strings.Builder
	terminal := term.IsTerminal(int(os.Stdout.Fd()))
	thinking := false
	turn := func(on bool) {
		if thinking != on {
			thinking = on
			fmt.Print(map[bool]string{true: "\x1b[2m", false: "\x1b[0m\n"}[on])
		}
	}
	err := c.Chat(ctx, client.ChatRequest{
		Model: model, Messages: messages, Temperature: f.Temperature, Seed: f.Seed,
		MaxTokens: f.MaxTokens, Template: map[string]any{"enable_thinking": f.Thinking},
	}, func(d client.Delta) {
		if d.Reasoning != "" && terminal { // what reads a pipe wants the answer
			turn(true)
			fmt.Print(d.Reasoning)
		}
		if d.Content != "" {
			turn(false)
			fmt.Print(d.Content)
			text.WriteString(d.Content)
		}
	})
	turn(false)
	fmt.Println()
	if ctx.Err() != nil {
		return text.String(), nil
	}
	return text.String(), err
}
