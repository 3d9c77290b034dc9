package membership

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger returns a zap logger, which is what etcd speaks, that writes to log. etcd calls
// much of its everyday life an error, so all of it arrives at debug level; only what is about
// to end the process arrives as an error.
func zapLogger(log *slog.Logger) *zap.Logger { return zap.New(slogCore{log}) }

// slogCore is a zapcore.Core over slog.
type slogCore struct{ log *slog.Logger }

func level(l zapcore.Level) slog.Level {
	if l > zapcore.ErrorLevel {
		return slog.LevelError
	}
	return slog.LevelDebug
}

func (s slogCore) Enabled(l zapcore.Level) bool {
	return l > zapcore.DebugLevel && s.log.Enabled(context.Background(), level(l))
}

func (s slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{s.log.With(attributes(fields)...)}
}

func (s slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if s.Enabled(e.Level) {
		return ce.AddCore(e, s)
	}
	return ce
}

func (s slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	args := append(attributes(fields), "severity", e.Level.String())
	s.log.Log(context.Background(), level(e.Level), e.Message, args...)
	return nil
}

func (slogCore) Sync() error { return nil }

// attributes turns zap's fields into slog's alternating keys and values.
func attributes(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	args := make([]any, 0, 2*len(fields)+2)
	for _, f := range fields {
		f.AddTo(enc)
		args = append(args, f.Key, enc.Fields[f.Key])
	}
	return args
}
