"""A deterministic training text: sentences drawn from short word lists of many scripts."""

import numpy as np

# Most frequent first; draws fall off with the rank.
WORDS = {
    "en": (" ", "the of and to in a is that for it was on are as with his they at be this have from or one "
           "had by word but not what all were we when your can said there use an each which she do how "
           "their if will up other about out many then them these so some her would make like him into "
           "time has look two more write go see number no way could people my than first water been call "
           "who oil its now find long down day did get come made may part expert model token layer router "
           "weight attention machine answer question because through between something"),
    "de": (" ", "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an "
           "werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war "
           "haben nur oder aber vor zur bis mehr durch man sein wurde können größer schöne Straße"),
    "fr": (" ", "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il "
           "sont été avec elle déjà où même très français café"),
    "ru": (" ", "и в не на я быть он с что а по это она этот к но они мы весь который из у свой вы за для "
           "от так мочь все ты же год человек сказать один время рука дело жизнь город"),
    "zh": ("", "的 是 不 我 一 有 大 在 人 了 中 到 资 要 以 可以 这 个 你 会 好 为 上 来 学 交 也 用 能 如 时 文 沒 說 他 "
           "世界 语言 模型 机器 数据 我们 问题 什么"),
    "ja": ("", "の に は を た が で て と し れ さ ある いる も する から な こと として い や など なっ ない この ため "
           "その よう また もの という あり まで 日本 言語 世界 カタカナ テスト"),
    "ko": (" ", "이 그 저 것 수 나 있다 하다 되다 없다 않다 우리 사람 한국 언어 세계 말 때 년 한 대한 안녕하세요"),
    "ar": (" ", "في من على إلى أن هذا التي عن مع هو كان هذه بين كل بعد العربية اللغة"),
    "hi": (" ", "के है में की से और का को हैं पर यह हिन्दी भाषा नहीं"),
    "th": ("", "ที่ การ เป็น และ ใน มี ของ ไม่ ได้ ให้ ภาษา ไทย น้ำ"),
    "km": ("", "ភាសា ខ្មែរ និង នៅ ក្នុង ជា"),
    "vi": (" ", "và của là có trong không cho người được với tiếng Việt một"),
    "code": (" ", "if return for func int := == { } ( ) () => += err != nil import self.x def print(\"\") "
             "class string[] &x *p x[i] // /* */ <div> </div> 0x1F && || \t \t\t \n \n\n    "),
    "emoji": ("", "😀 👍 🎉 ❤️ 🙂 👩‍👩‍👧 🇩🇪 …  — “ ” ’ € °"),
}
SHARES = {"en": 8, "de": 3, "fr": 2, "ru": 2, "zh": 3, "ja": 2, "ko": 1, "ar": 1, "hi": 1, "th": 1,
          "km": 1, "vi": 1, "code": 5, "emoji": 1}
ENDINGS = [". ", ".\n", "!\n", "? ", ",\n", ":\n\n", "。", "'s ", "; ", " (x) ", "\r\n", "...\n"]


def sentences(count=6000, seed=20250806):
    rng = np.random.Generator(np.random.PCG64(seed))
    languages = list(SHARES)
    shares = np.array([SHARES[x] for x in languages], dtype=float)
    for _ in range(count):
        language = languages[rng.choice(len(languages), p=shares / shares.sum())]
        space, words = WORDS[language]
        words = words.split(" ")
        falling = 1.0 / (3.0 + np.arange(len(words)))
        chosen = rng.choice(len(words), size=rng.integers(2, 14), p=falling / falling.sum())
        text = space.join(words[i] for i in chosen)
        if rng.random() < 0.3:
            text = text[:1].upper() + text[1:]
        if rng.random() < 0.2:
            text += f" {rng.integers(0, 10**rng.integers(1, 6))}"
        yield text + ENDINGS[rng.integers(len(ENDINGS))]
