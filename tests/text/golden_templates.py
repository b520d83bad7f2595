"""Templates and conversations for make_golden.py, and what jinja2 makes of them with transformers' settings."""
import json

from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    def _same(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    return made


CHATML = """{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""
LLAMA3 = """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
LLAMA31 = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message + builtin tools #}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\\n\\n"}}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {{- "You have access to the following functions.\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}

{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
{%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {{- "Given the following functions, please respond with a JSON for a function call.\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + ", " }}{{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
"""
GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"""
QWEN = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning_content)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
SMOLLM = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
PARTS = """{% macro render(content) -%}
{%- if content is string %}{{ content }}{% elif content is iterable %}{% for item in content %}{% if item.type == 'image' %}<image>{% elif 'text' in item %}{{ item.text }}{% endif %}{% endfor %}{% else %}{{ content or '' }}{% endif %}
{%- endmacro %}
{% for m in messages %}
    {%- generation %}[{{ m.role | upper }}] {{ render(m.content) | trim }}{% endgeneration %}

{% endfor %}"""

MODELS = {"chatml": CHATML, "llama2": LLAMA2, "llama3": LLAMA3, "llama3.1": LLAMA31, "mistral": MISTRAL, "gemma": GEMMA, "qwen3": QWEN,
          "zephyr": ZEPHYR, "smollm2": SMOLLM, "parts": PARTS}


def say(*turns):
    return [{"role": role, "content": content} for role, content in turns]


CALL = {"id": "call00001", "type": "function", "function": {"name": "weather", "arguments": {"city": "Köln \"x\"", "days": 3, "t": 1.5, "ok": True, "n": None}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Says <the> weather & \"more\"",
          "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "empty": {}, "none": []}}}]
CONVERSATIONS = {
    "one": {"messages": say(("user", "Hello"))},
    "system": {"messages": say(("system", "  Be brief.\n"), ("user", " Hi <|im_end|> [/INST] "))},
    "long": {"messages": say(("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nb"), ("user", "c\n"), ("assistant", " d "), ("user", "Ünï 👍"))},
    "odd": {"messages": say(("assistant", "first"), ("user", "second"))},
    "empty": {"messages": []},
    "tools": {"messages": say(("user", "Weather?")) + [{"role": "assistant", "content": "", "tool_calls": [CALL]},
              {"role": "tool", "content": "rain", "tool_call_id": "call00001"}] + say(("assistant", "It rains.")), "tools": TOOLS},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": " see "}, {"type": "image"}, {"type": "text", "text": "this"}]}]},
    "no content": {"messages": [{"role": "user"}, {"role": "assistant", "content": None}]},
}

# Small templates, one point each. Variables: messages as below, n = 3, x = 1.5, s, u (Unicode), l, d, e (empty), t (true), z (null).
SMALL_VARIABLES = {"messages": say(("user", "Hello World"), ("assistant", "b")), "n": 3, "x": 1.5, "s": "  a b,c  ", "u": "Zoë ΑΔ 日本 ж", "l": [3, 1, 2],
                   "d": {"b": 1, "a": [1, {"k": None}], "items": 5}, "e": [], "t": True, "z": None, "w": ["b", "A", "c", "B"],
                   "r": [{"k": "x", "v": 2}, {"k": "y", "v": 1}, {"k": "x"}], "q": "it's \"q\" \\ \n\t\x01\x7f é 👍 \u00ad", "h": "a-b (cd) [ef] {gh} <ij>kl mN"}
EXPRESSIONS = """1 + 2 * 3 - 4 // 3 | (1 + 2) * 3 | -n ** 2 | 2 ** 3 ** 2 | 7 / 2 | -7 // 2 | -7 % 3 | 7 % -3 | 7.5 // 2 | -7.5 % 2 | 1e16 | 1e15 | 1e-5 | 0.0001 | 1.0 | 123456789.125 | 1e100 | 1_000
n ~ x ~ s ~ t ~ z ~ l ~ missing | 'a' 'b' | 'a' + 'b' * 2 | 2 * 'ab' | [1] + [2] | (1, 2) + (3,) | () | (1,) | [] | {} | {'a': 1, 'b': [2, (3, 'x')]} | d | q | [q] | {'k': q} | [none, true, 1.0]
1 < 2 < 3 | 1 < 3 < 2 | 1 == 1.0 | true == 1 | 'a' < 'b' | [1, 2] < [1, 3] | 'a' in 'abc' | 'x' not in 'abc' | 1 in l | 'b' in d | missing == none | missing == other | z == none | 1 in (1, 2) | 'a' in missing
t and n | e or n | not e | not t or n | z and missing.x | n if t else x | n if e | (n if e) is defined | 'a' if e else 'b' if z else 'c' | n is defined and n > 2
l[0] | l[-1] | l[5] is defined | l[0:2] | l[::-1] | l[-2:] | l[5:1:-2] | s[2] | s[-3] | u[1:5] | u[::-1] | u[::2] | u[-3:-1] | s[100:] | d['a'][1]['k'] is none | d.a[0] | d['items'] | d.b | d.zz is defined | d['zz'] | l.0 | messages[0].content[0:5] | messages[-1]['role'] | l[true] | ''[0:1]
s|trim | u|upper | u|lower | u|title | u|capitalize | h|title | h.title() | 'HELLO wORLD'|capitalize | l|length | u|length | d|length | missing|length | e|length | l|join | l|join(', ') | r|join('-', attribute='k') | u|replace('s', 'S') | 'aaa'|replace('a', 'b', 2) | 'abc'|replace('', '-') | n|string + 'x' | 'ab'|list | d|list | missing|list
missing|default('x') | z|default('x') | z|default('x', true) | ''|d('x', boolean=true) | e|first is defined | l|first | l|last | 'abc'|first | 'abc'|last | d|items|list | d.items()|list | d.keys()|list | d.values()|list | d.get('b') | d.get('c') | d.get('c', 7) | l|reverse|list | 'abc'|reverse | l|sort | l|sort(reverse=true) | w|sort | w|sort(case_sensitive=true) | r|sort(attribute='v') | w|unique|list | [1, 1.0, true, 2]|unique|list
r|map(attribute='k')|list | r|map(attribute='v', default=0)|list | w|map('upper')|list | w|map('replace', 'b', 'x')|join | r|selectattr('v')|list|length | r|selectattr('k', 'equalto', 'x')|list | r|rejectattr('k', 'eq', 'x')|map(attribute='v')|first | r|selectattr('v', 'defined')|list|length | l|select('odd')|list | l|reject('gt', 1)|list | l|select|list | l|sum | r|selectattr('v', 'defined')|sum(attribute='v') | l|min | l|max | e|max is defined | w|max | d|dictsort
'42'|int | ' 42 '|int | '4.7'|int | 'x'|int | 'x'|int(5) | 4.7|int | true|int | '1.5'|float | 'x'|float | 'x'|float(2.5) | n|float | 2.5|round | 3.5|round | 2.567|round(2) | 2.5|round(0, 'floor') | -3|abs | -2.5|abs | 'a\nb\n\nc'|indent | 'a\nb'|indent(2, true) | 'a\n\nb'|indent(2, blank=true) | 'a\nb'|indent('> ') | 'x'|safe | ['a','b']|join|upper | z|string | t|string | t|lower | missing|upper | n|upper
d|tojson | q|tojson | l|tojson | [1.0, 1e20, 1e-7, none, true, 'é']|tojson | d|tojson(indent=2) | e|tojson(indent=2) | {'a': {}, 'b': []}|tojson(indent=4) | d|tojson(sort_keys=true) | (1, 2)|tojson | messages|tojson | {1: 2, true: 3}|tojson | messages|string | u|tojson
n is number | x is number | t is number | t is integer | n is integer | x is float | s is string | d is mapping | l is mapping | s is iterable | l is sequence | d is iterable | n is iterable | missing is defined | missing is undefined | z is none | z is defined | t is true | t is false | n is odd | n is even | n is divisibleby 3 | n is eq 3 | n is equalto(3) | n is in [1, 3] | n is not none | l is not string | 'a' is lower | 'A' is upper | n is lt 4 | n is ge(3) | range is callable | t is boolean | d.items is defined | missing is sequence
s.strip() | s.lstrip() | s.rstrip() | 'xxaxx'.strip('x') | 'abcba'.strip('ab') | 'a b  c'.split() | ' a  b '.split(' ') | 'a,b,c'.split(',', 1) | 'a b c d'.split(none, 2) | 'a,b,c'.rsplit(',', 1) | 'a,b,c'.split(',')[-1] | ''.split() | ''.split(',') | 'a\nb\r\nc\n'.splitlines() | s.upper() | u.lower() | u.upper() | u.title() | u.capitalize() | 'abc'.startswith('ab') | 'abc'.startswith(('x', 'a')) | 'abc'.endswith('bc') | 'aXbX'.replace('X', '--') | 'aaa'.replace('a', 'b', 1) | 'abc'.find('c') | u.find('日') | 'abc'.find('z') | 'abcabc'.rfind('b') | 'aaa'.count('a') | ','.join(['a', 'b']) | '12'.isdigit() | 'ab'.isalpha() | ' '.isspace() | 'a1'.isalnum() | 'prefix-x'.removeprefix('prefix-') | 'x.txt'.removesuffix('.txt') | 'abc'.index('b')
range(3)|list | range(1, 10, 3)|list | range(5, 0, -2)|list | range(3)|length | dict(a=1, b='x') | namespace(a=1).a | [1, [2, [3]]] | 'a' ~ 1 ~ none | 'é' | '\\u00e9' | '\\x41\\101\\n' | "a'b" | 'a"b' | '\\d' | 1 if missing else 2 | not missing | -(-3) | +3 | true and false or true | 1 + 2 == 3 and 'x' != 'y' | (1, 2, 3)[1] | {'a': 1}['a'] | {'a': 1}.a | 'abc'[1:][0] | (messages|first).role | messages[0]['content'].split(' ')[1]|lower
'%s and %s' % (n, s) | '%d%%' % n | '%5d|%-5d|%05d' % (n, n, -n) | '%.2f %f' % (x, n) | '%r %s' % (s, l) | '%x' % 255 | '%.3s|%8s|%-8s|' % (u, u, u) | '%s' % l | '%s' % missing | 'plain' % () | '%s %s'|format(n, u) | '%s' % z | '%i' % 4.9
'{} {}'.format(n, u) | '{1}{0}{1}'.format(n, u) | '{a}-{b}'.format(a=l, b=z) | '{{}} {}'.format(n) | q|tojson(ensure_ascii=true) | '\U0001F44D é\x7f'|tojson(ensure_ascii=true) | d|tojson(separators=(',', ':')) | d|tojson(indent=1, separators=('; ', ' = ')) | 'ab'.isupper() | 'AB'.isupper() | 'ab1'.islower()
'%s %s' % n | '%s' % (n, n) | '%d' % 'a' | '%q' % n | '%' % n | '{}'.format() | '{x}'.format(n) | '{'.format(n) | '}'.format(n) | l.append(4) | l.pop() | d.update({}) | d.pop('b') | '%x' % x
missing.x | missing['x'] | missing + 1 | 'a' + 1 | 1 + 'a' | z.x | z + 'a' | l.x | 1 / 0 | 'a' < 1 | missing() | n() | missing < 1 | raise_exception('no') | l|join|foo | z|map('upper')|list | z|selectattr('a')|list | 0|reject|list | '\u200d\u2028\ufeff\U000e0001é\u0378\xa0'|list | x is foo | 'a'.nope() | range(1000000000) | none|length | 5|list | [1, 'a']|sort | {}|tojson(indent=1) ~ missing.a.b | -'a' | d['a']['b']['c'] | 1 in 5 | l[1:2:0] | ''.join([1])"""
BLOCKS = [
    "{% for i in l %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }};{% endfor %}",
    "{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}", "{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for i in l if i > 1 %}{{ i }}{{ loop.last }}{% else %}none{% endfor %}", "{% for i in e %}x{% else %}none{% endfor %}", "{% for i in missing %}x{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }},{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for c in u %}[{{ c }}]{% endfor %}", "{% for k, v in [(1, 2), [3, 4]] %}{{ k + v }} {% endfor %}",
    "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in l %}{% for j in l %}{{ loop.index }}{{ loop.depth }}{% if j == 1 %}{% break %}{% endif %}{% endfor %}{{ loop.index }};{% endfor %}",
    "{% set a = 1 %}{% for i in l %}{% set a = a + i %}{{ a }}{% endfor %}{{ a }}", "{% set ns = namespace(a=0) %}{% for i in l %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}",
    "{% if e %}{% set a = 1 %}{% else %}{% set a = 2 %}{% endif %}{{ a }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}", "{% set a %}x{{ n }}y{% endset %}[{{ a }}]", "{% set a | upper | trim %} x {% endset %}[{{ a }}]",
    "{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }} {{ m() }}", "{% macro f(k) %}{% if k > 0 %}{{ k }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(4) }}",
    "{% macro m() %}{{ y }}{% endmacro %}{% set y = 5 %}{{ m() }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% for i in l %}{% set q2 = i %}{% endfor %}{{ q2 is defined }}",
    "{% for i in l %}{% macro m(a) %}{{ a }}{{ i }}{% endmacro %}{{ m('x') }}{% endfor %}", "{% with v = n %}{% macro f(k) %}{% if k > 0 %}{{ k }}{{ v }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(3) }}{% endwith %}",
    "{% for i in l %}{% macro m() %}{{ loop.index }}{% endmacro %}{% for j in e %}{% else %}{{ m() }}{% endfor %}{% endfor %}", "{% if t %}{% macro m(a) %}[{{ a }}]{% endmacro %}{% endif %}{{ m(n) }}",
    "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter trim | upper %} a {% endfilter %}", "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}", "{% generation %}x{% set g = 1 %}{% endgeneration %}{{ g is defined }}",
    "a\n{% if t %}\nb\n{% endif %}\nc\n", "a\n  {% if t %}  \n  b\n  {% endif %}  c\n", "a {%- if t -%} b {%- endif -%} c", "a\n\n  {{- n -}}  \n\nb", "  {{ n }}\n  {{ n }}\n\n", "{# c #}\nx{# c #}y\n  {# c #}\nz", "a\n  {#- c -#}  \nb",
    "  {%+ if t %}x{% endif %}", "{% if t +%}\nx{% endif %}", "{%- if t %}\n\n\nx{% endif -%}\n\n y", "{% raw %}{{ x }}{% y %}{# z #}{% endraw %}", "a\n  {% raw %}\n  b\n  {% endraw %}\n  c", "{%- raw -%} a {%- endraw -%} b", "x\r\ny\r\n{% if t %}\r\nz{% endif %}\r\n\r\n",
    "{{ '{{' }} {{ \"%}\" }} {{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a':{'b':1}}}}", "{ { } } {x} { % %}", "{{ n -}}\n x", "{{- n }}", "{% if n == 3 %}a{% elif t %}b{% else %}c{% endif %}", "{% if e %}a{% elif z %}b{% elif t %}d{% else %}c{% endif %}",
    "{% if missing %}a{% endif %}{{ missing }}", "{{ missing }}{{ z }}{{ e }}", "{% set x = 5 %}{{ x }}", "{% for x in l %}{{ x }}{% endfor %}{{ x }}", "{% for i in l -%}\n  {{ i }}\n{%- endfor %}", "{%for i in l%}{{i}}{%endfor%}", "{{n}}{{ n|string|length}}",
    "{% for m in messages %}{% if loop.changed(m.role) %}{{ m.role }}{% endif %}{% endfor %}", "{% for i in 'ab' %}{{ loop.index }}{{ i }}{% endfor %}", "{{ messages[0] }}", "{% for a in [[1, [2]]] %}{{ a }}{% endfor %}",
    "{{ (messages | selectattr('role', 'equalto', 'user') | list)[-1].content }}", "{{ messages | map(attribute='content') | join('|') }}", "{% set m = messages | rejectattr('role', 'in', ['user']) | list %}{{ m | length }}", "\n\nx\n\n", "", "\n", "{% if t %}\n\n{% endif %}",
    "{{ 'a' if t }}{{ 'b' if e }}", "{% if %}x{% endif %}", "{% for i %}{% endfor %}", "{{ 1 + }}", "{% endif %}", "{% if t %}", "{{ n", "{% foo %}", "{{ ] }}", "{{ 'abc }}", "{% for i in l %}{% endif %}", "{% break %}", "{{ a b }}", "{% set 1 = 2 %}", "{# open", "{% raw %}x", "{{ n.1x }}",
]


def rows():
    made = environment()

    def row(name, template, variables):
        out = {"name": name, "template": template, "variables": variables}
        try:
            out["text"] = made.from_string(template).render(json.loads(json.dumps(variables)))
        except Exception as error:
            assert not isinstance(error, AssertionError)
            out["error"] = True
        return out

    extra = {"bos_token": "<s>", "eos_token": "</s>"}
    for name, template in MODELS.items():
        for title, conversation in CONVERSATIONS.items():
            for prompt in (False, True):
                yield row(f"{name}, {title}", template, {**conversation, **extra, "add_generation_prompt": prompt})
    for line in EXPRESSIONS.split("\n"):
        for expression in line.split(" | "):
            yield row(expression, "{{ " + expression + " }}", SMALL_VARIABLES)
    for block in BLOCKS:
        yield row(block, block, SMALL_VARIABLES)
