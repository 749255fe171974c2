"""python3 -m unittest discover -s bench -t bench"""

import json
import tempfile
import unittest
from pathlib import Path

from harness import cells, peers, tables


def record(peer, number, cost, **more):
    case = cells.CASES[1].title
    return {"case": case, "peer": peer, "round": number, "cpu_us_per_delivery": cost, "lat_p50_us": 5, **more}


def render(*records):
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "results.jsonl")
        file.write_text("\n".join(map(json.dumps, records)))
        return tables.render([file])


class Tables(unittest.TestCase):
    def test_ratios_are_taken_within_a_round(self):
        slow_machine, fast_machine = 4.0, 2.0
        text = render(
            record("bare", 0, slow_machine), record("bun", 0, 1.25 * slow_machine),
            record("bare", 1, fast_machine), record("bun", 1, 1.25 * fast_machine),
        )
        self.assertIn("| Bun | 3.75 (2.50–5.00) | 1.25× (1.25–1.25) |", text)

    def test_socket_io_is_measured_by_our_own_protocol_and_by_socketioxide(self):
        text = render(record("denrei-native", 0, 2.0), record("denrei", 0, 2.1), record("socketioxide", 0, 8.4))
        self.assertIn("| CPU µs per delivery | to native | to socketioxide | p50 µs |", text)
        self.assertIn("| **denrei** | 2.10 | 1.05× | 0.250× | 5.00 |", text)

    def test_a_cell_that_failed_is_shown_last_and_says_so(self):
        text = render({"case": cells.CASES[1].title, "peer": "nchan", "round": 0, "failed": "did not start"}, record("bun", 0, 3))
        self.assertLess(text.index("Bun"), text.index("| nginx + Nchan | failed |"))

    def test_lost_deliveries_are_not_hidden_but_several_publishers_have_no_order(self):
        text = render(record("bun", 0, 3, lost=7, gaps=2), record("axum", 0, 4, gaps=9, publishers=16))
        self.assertIn("7 lost, 2 gaps", text)
        self.assertNotIn("9 gaps", text)

    def test_a_declined_offer_of_deflate_is_not_passed_off_as_fast(self):
        text = render(record("bun", 0, 3, command="fanout --deflate", deflated_frames=0))
        self.assertIn("| not deflated |", text)

    def test_only_what_is_between_the_markers_is_replaced(self):
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "benchmarks.md")
            file.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
            tables.write_docs(file, "new\n")
            self.assertEqual(file.read_text(), f"before\n{tables.BEGIN}\nnew\n{tables.END}\nafter\n")


class Cells(unittest.TestCase):
    def test_a_misspelt_group_is_refused(self):
        with self.assertRaises(cells.Unknown):
            cells.select(["wss"], None)

    def test_every_server_of_a_cell_is_known_and_has_a_label(self):
        used = {cell.peer for case in cells.CASES for cell in case.cells}
        self.assertEqual(used, set(peers.NAMES))
        self.assertEqual(used, set(peers.LABELS))
        self.assertEqual(used, set(peers.table(Path("denrei"))))

    def test_socket_io_is_spoken_to_all_servers_with_the_same_words(self):
        for case in cells.select(["sio"], None):
            spoken = {cell.words for cell in case.cells if cell.peer not in ("denrei-native", "nchan")}
            self.assertEqual(len(spoken), 1, case.title)


class Versions(unittest.TestCase):
    def test_a_peer_of_rust_has_the_version_of_its_lock(self):
        self.assertRegex(peers.locked("socketioxide"), r"^0\.18\.\d+$")
        self.assertEqual(peers.installed("no-such-package"), "")


if __name__ == "__main__":
    unittest.main()
