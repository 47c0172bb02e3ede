"""Real agents with real models behind /invoke: what a client of each provider gets to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from asgi_agentrt import AgentRuntimeASGI, Runtime
from asgi_agentrt.exceptions import StartupError
from tests.support import driver
from tests.support.llm import MODEL
from tests.support.scripted_llm import ScriptedLLM

from .invoking import GENERATION, Server, answer_of, here, invoke, model, project, served, with_path

pytestmark = [
    pytest.mark.skipif(not GENERATION, reason="needs AgentScope"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


# A real model


@pytest.fixture(scope="module")
def real(llm_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    openai = model(MODEL, f"{llm_url}/v1")
    anthropic = model(MODEL, llm_url, "anthropic")
    for entry in (openai, anthropic):
        entry["generate_kwargs"] = {"max_tokens": 10}
    config = {"models": {"openai": openai, "anthropic": anthropic}}
    with served(project(tmp_path_factory.mktemp("real"), config)) as server:
        yield server
    assert "app stopped" in server.process.output


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_the_tokens_of_a_real_model_come_one_by_one(real: Server, provider: str) -> None:
    answer = real.invoke("Tell me a story.", provider, metadata={"model": provider})
    assert not answer.failed
    assert len(answer.messages) > 3
    assert answer.reads > 2
    assert len({message["id"] for message in answer.messages}) == 1
    for message in answer.messages:
        assert list(message) == ["name", "content", "role", "metadata", "id", "timestamp"]
        assert message["metadata"] == {"chunk": True}
        assert (message["name"], message["role"]) == ("bot", "assistant")
        assert message["content"]
    assert len(answer.text.split()) > 2


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_the_same_comes_as_one_json_object_in_the_next_turn(real: Server, provider: str) -> None:
    response = real.ask("And then?", provider, metadata={"model": provider})
    assert response.status_code == 200
    body = response.json()
    assert (body["session_id"], body["run_id"]) == (provider, response.headers["x-run-id"])
    assert len(body["messages"]) > 3
    assert {message["metadata"]["chunk"] for message in body["messages"]} == {True}


# What the app takes and gives

TAKEN = {
    "": "agentscope.message.",
    ": theirs.Msg": "agentscope.message.",
    ": 'theirs.Msg'": "agentscope.message.",
    ": ours.Msg": "asgi_agentrt.",
    ": dict[str, Any]": "builtins.dict",
}


@pytest.mark.parametrize("annotation", TAKEN)
async def test_the_message_has_the_annotated_class_and_any_does_for_an_agent(
    tmp_path: Path, scripted: ScriptedLLM, annotation: str
) -> None:
    changes = {
        "self, msg, ctx": f"self, msg{annotation}, ctx",
        "from typing import Any\n": "from typing import Any\n"
        "import agentscope.message as theirs\nimport asgi_agentrt as ours\n",
    }
    config = {"models": {"main": model("say:Good day.", scripted.base_url)}}
    async with here(project(tmp_path, config, changes=changes)) as agent:
        answer = await invoke(agent, "What a day!", metadata={"describe": True})
    described, *chunks = answer.messages
    assert described["content"].startswith(TAKEN[annotation])
    assert "".join(chunk["content"] for chunk in chunks) == "Good day."
    assert "What a day!" in str(scripted.requests[0]["messages"])


UNKNOWN = {
    1: {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
    2: {"type": "url", "url": "no url"},
}


async def test_a_block_that_agentscope_does_not_take_is_the_callers_mistake(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    config = {"models": {"main": model("say", scripted.base_url)}}
    content = [{"type": "text", "text": "Look!"}, {"type": "data", "source": UNKNOWN[GENERATION]}]
    async with here(project(tmp_path, config)) as agent:
        request = driver.invocation("s1", content, accept="application/json")
        exchange = await driver.call(agent, request)
        assert exchange.status == 400
        assert exchange.error_code == "INVALID_REQUEST"
        assert exchange.json["error"]["message"].startswith("message.content[1]")
        streamed = answer_of((await driver.call(agent, driver.invocation("s1", content))).content)
        assert streamed.failed
        assert streamed.messages == [exchange.json]


@pytest.mark.parametrize("as_events", [False, True])
async def test_an_app_may_yield_what_agentscope_gives(
    tmp_path: Path, scripted: ScriptedLLM, as_events: bool
) -> None:
    """Whole messages in both generations, the events of 2.x."""
    config = {"models": {"main": model("say:Good day to you.", scripted.base_url)}}
    async with here(project(tmp_path, config, "direct")) as agent:
        answer = await invoke(agent, metadata={"events": as_events})
    if as_events and GENERATION == 2:
        assert [message["content"] for message in answer.messages] == [
            "Good ",
            "day ",
            "to ",
            "you.",
        ]
        assert len({message["id"] for message in answer.messages}) == 1
    else:
        [message] = answer.messages
        said = message["content"]
        assert said in ("Good day to you.", [{"type": "text", "text": "Good day to you."}])
        assert message["name"] == "bot"
        assert message["id"]


async def test_a_second_turn_tells_the_model_of_the_first(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    config = {
        "models": {"main": model("say:I am fine.", scripted.base_url)},
        "session": {"backend": "json"},
    }
    folder = project(tmp_path, config)
    async with here(folder) as agent:
        await invoke(agent, "How are you?")
        await invoke(agent, "And now?")
    async with here(folder) as agent:  # the sessions outlive the server
        await invoke(agent, "And tomorrow?")
    heard = [
        [
            text
            for text in ("How are you?", "And now?", "I am fine.")
            if text in str(request["messages"])
        ]
        for request in scripted.requests
    ]
    assert heard == [["How are you?"], *[["How are you?", "And now?", "I am fine."]] * 2]


async def test_what_a_model_refuses_fails_the_run_without_its_words(
    tmp_path: Path, scripted: ScriptedLLM, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"models": {"main": model("error:401", scripted.base_url)}}
    async with here(project(tmp_path, config)) as agent:
        answer = await invoke(agent)
        assert answer.failed
        assert answer.messages[-1]["error"]["code"] == "APP_ERROR"
        assert "scripted failure" not in str(answer.messages)
        assert "scripted failure" in caplog.text
        assert (await invoke(agent)).failed  # and the session is not stuck


# Plug-ins

PLUGIN = '''
from agentscope.model import OpenAIChatModel


class Model(OpenAIChatModel):
    """A user's own, made from AgentScope's."""


class Plain:
    async def aclose(self):
        print("plain is closed", flush=True)


async def make(config):
    if int(__import__("importlib.metadata").metadata.version("agentscope")[0]) == 1:
        model = Model(config.model, api_key="k", client_kwargs={"base_url": config.base_url})
    else:
        from agentscope.credential import OpenAICredential

        model = Model(OpenAICredential(api_key="k", base_url=config.base_url), config.model)
    close = model.client.close

    async def close_and_say():
        await close()
        print("model is closed", flush=True)

    model.client.close = close_and_say
    return model


def make_plain(config):
    return Plain()
'''
ENTRY_POINTS = "[asgi_agentrt.model_providers]\nhouse = acme.llm:make_plain\n"


def test_plug_ins_are_found_by_path_and_by_entry_point_and_closed_in_the_end(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    modules = tmp_path / "modules"
    (modules / "acme").mkdir(parents=True)
    (modules / "acme" / "llm.py").write_text(PLUGIN)
    (modules / "acme-1.dist-info").mkdir()
    (modules / "acme-1.dist-info" / "METADATA").write_text("Name: acme\nVersion: 1\n")
    (modules / "acme-1.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    theirs = {**model("say:By path.", scripted.base_url), "provider": "acme.llm:make"}
    config = {"models": {"main": theirs, "plain": {"provider": "house"}}}
    # The formatter's name follows from the model's, and this is a user's own.
    changes = {"type(model)": "type(model).__mro__[1]"} if GENERATION == 1 else {}
    folder = project(tmp_path / "project", config, changes=changes)
    with served(folder, env=with_path(modules)) as server:
        assert server.invoke().text == "By path."
        assert server.health()["models"] == {"main": "open", "plain": "open"}
        assert "closed" not in server.process.output
    output = server.process.output
    assert output.index("app stopped") < output.index("plain is closed")
    assert output.index("plain is closed") < output.index("model is closed")


# Starting and stopping


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_models_are_closed_with_the_runtime(tmp_path: Path, provider: str) -> None:
    config = {"models": {"main": model("m", "http://127.0.0.1:9", provider)}}
    with anyio.fail_after(30):
        async with Runtime(project(tmp_path, config)) as opened:
            client = opened.models.main.client
            assert not client.is_closed()
        assert client.is_closed()


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_model_on_trio_is_refused_in_one_sentence(tmp_path: Path, provider: str) -> None:
    pytest.importorskip("trio")
    config = {"models": {"main": model("m", "http://127.0.0.1:9", provider)}}
    agent = AgentRuntimeASGI(project(tmp_path, config))

    async def main() -> None:
        with anyio.fail_after(10):
            await agent.start()

    with pytest.raises(StartupError) as caught:
        anyio.run(main, backend="trio")
    assert str(caught.value) == "agentscope: AgentScope needs asyncio; this event loop is another"
