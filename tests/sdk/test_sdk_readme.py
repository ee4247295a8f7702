"""The examples of the library's README, run as they stand against a deployment; and its table of errors."""

import doctest
import re
import threading
from pathlib import Path

from parade_client import ParadeClientError, errors
from tests.support.deployment import PATIENCE_S, ROOT, running

README = ROOT / "sdk" / "python" / "README.md"


def test_the_examples(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    text = re.sub(r"^```.*$", "", README.read_text(), flags=re.MULTILINE)
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system:
        ports = {"9099": system.client_port, "9090": system.event_port}
        for documented, service in (("9098", "fanout"), ("9097", "listener")):
            ports[documented] = system.start_web(service)
        for documented, port in ports.items():
            text = text.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{port}")
        examples = doctest.DocTestParser().get_doctest(text, {}, "README", str(README), 0)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        found: list[str] = []
        running_them = threading.Thread(target=lambda: runner.run(examples, out=found.append), daemon=True)
        running_them.start()
        running_them.join(4 * PATIENCE_S)
        assert not running_them.is_alive(), "an example does not end"
    assert found == []
    assert runner.summarize(verbose=False) == (0, len(examples.examples))
    assert len(examples.examples) > 10


def test_the_table_of_errors_has_all_of_them() -> None:
    named = re.findall(r"^\| `(\w+Error)` \|", README.read_text(), re.MULTILINE)
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ParadeClientError)]
    assert sorted(named) == sorted(each.__name__ for each in kinds if each is not ParadeClientError)
