"""The prompts: a line of text each, or in FILE.jsonl an object each."""

import json
from typing import NamedTuple

from moesim.json_lines import is_whole
from moesim.say import Failure

JSON_NAMES = (".jsonl", ".ndjson", ".json")
KEYS = ("prompt", "messages", "token_ids", "group", "max_new_tokens", "decoder_token_ids")
NEW_TOKENS_MAX = 1 << 20
NAME_MAX = 256
FILE_MAX = 1 << 30


class Prompt(NamedTuple):
    place: str  # file and line, for messages
    text: str
    messages: list
    token_ids: list
    group: str
    max_new_tokens: int
    decoder_token_ids: list  # what an encoder-decoder model's answer is made to begin with


def is_ids(value):
    return isinstance(value, list) and all(is_whole(v, 1 << 31) for v in value)


def is_messages(value):
    return isinstance(value, list) and value != [] and all(
        isinstance(m, dict) and isinstance(m.get("role"), str) for m in value)


def of_object(place, line, most_new):
    """The prompt of a line of JSON."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as failure:
        raise Failure(f"{place}: is no JSON: {failure}; each line is an object such as "
                      '{"prompt": "..."}') from None
    if not isinstance(found, dict):
        raise Failure(f'{place}: is no object; write {{"prompt": "..."}}')
    strange = [key for key in found if key not in KEYS]
    if strange:
        raise Failure(f"{place}: has the key {strange[0][:80]!r}, which says nothing here; "
                      f"known are {', '.join(KEYS)}")
    given = [key for key in KEYS[:3] if found.get(key) is not None]
    if len(given) != 1:
        raise Failure(f"{place}: has {' and '.join(given) or 'no prompt'}; give one of "
                      f"{', '.join(KEYS[:3])}")

    def take(key, good, what, fallback=None):
        value = found.get(key)
        if value is None:
            return fallback
        if not good(value):
            raise Failure(f"{place}: {key} must be {what}")
        return value

    return Prompt(
        place,
        take("prompt", lambda v: isinstance(v, str) and v != "", "a text"),
        take("messages", is_messages, "a list of objects with role and content"),
        take("token_ids", lambda v: is_ids(v) and v != [], "a list of token ids, not empty"),
        take("group", lambda v: isinstance(v, str) and 0 < len(v.encode("utf-8", "replace"))
             <= NAME_MAX, f"a text of 1 to {NAME_MAX} bytes", "all"),
        take("max_new_tokens", lambda v: is_ids([v]) and v <= NEW_TOKENS_MAX,
             f"a whole number from 0 to {NEW_TOKENS_MAX}", most_new),
        take("decoder_token_ids", lambda v: is_ids(v) and v != [],
             "a list of token ids, not empty"))


def read(path, most_new):
    """All prompts of the file, in order."""
    found = []
    as_json = path.endswith(JSON_NAMES)
    try:
        with open(path, encoding="utf-8-sig") as stream:
            if stream.seek(0, 2) > FILE_MAX:
                raise Failure(f"{path}: is larger than 1 GiB; give the prompts in parts")
            stream.seek(0)
            for number, line in enumerate(stream, 1):
                place, line = f"{path}:{number}", line.rstrip("\r\n")
                if line.strip() == "":
                    continue
                found.append(of_object(place, line, most_new) if as_json else
                             Prompt(place, line, None, None, "all", most_new, None))
    except UnicodeDecodeError as failure:
        raise Failure(f"{path}: is not UTF-8 text: {failure}; convert it") from None
    except OSError as failure:
        raise Failure(f"{path}: cannot be read: {failure.strerror}") from None
    if not found:
        raise Failure(f"{path}: has no prompt; write one a line")
    return found


class Encoder:
    """Prompts as token ids. The tokenizer is loaded where a prompt needs it."""

    def __init__(self, model, vocabulary, room):
        self.model, self.vocabulary, self.room, self.loaded = model, vocabulary, room, None

    def tokenizer(self, place):
        if self.loaded is None:
            import transformers
            try:
                self.loaded = transformers.AutoTokenizer.from_pretrained(self.model)
            except Exception as failure:  # its kinds are many, and none is ours
                raise Failure(f"{place}: is text, but {self.model} has no tokenizer that loads "
                              f"({str(failure).splitlines()[0][:200]}); give token_ids in a "
                              "file .jsonl") from None
        return self.loaded

    def __call__(self, prompt):
        ids = prompt.token_ids
        if ids is None:
            tokenizer = self.tokenizer(prompt.place)
            try:
                ids = (tokenizer(prompt.text)["input_ids"] if prompt.text is not None else
                       tokenizer.apply_chat_template(prompt.messages, add_generation_prompt=True,
                                                     tokenize=True, return_dict=True)["input_ids"])
            except Exception as failure:
                raise Failure(f"{prompt.place}: the tokenizer of {self.model} does not take it: "
                              f"{str(failure).splitlines()[0][:200]}; give prompt or token_ids "
                              "instead") from None
        if len(ids) == 0:
            raise Failure(f"{prompt.place}: has no token; write more, or take the line out")
        for one in (*ids, *(prompt.decoder_token_ids or ())):
            if not 0 <= one < self.vocabulary:
                raise Failure(f"{prompt.place}: token {one} is not below {self.vocabulary}, the "
                              f"vocabulary of {self.model}; was it made for another model?")
        if self.room is not None and len(ids) + prompt.max_new_tokens > self.room:
            raise Failure(f"{prompt.place}: {len(ids)} tokens and {prompt.max_new_tokens} new ones "
                          f"are more than the {self.room} positions of {self.model}; shorten it, "
                          "or generate fewer")
        return [int(one) for one in ids]
