"""Run with: python3 -m unittest discover -s scripts -p '*_test.py'"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import expand_kv

MODEL = HERE.parent / "models" / "orchard"  # 4 heads, of which two share keys and values


def read_tensors(folder):
    with (folder / "model.safetensors").open("rb") as file:
        header, start = expand_kv.read_header(file)
        header.pop("__metadata__", None)
        data = file.read()
    return {
        name: (entry["shape"], data[slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }, start


class ExpandKvTest(unittest.TestCase):
    def test_every_query_head_has_its_own_copy(self):
        with tempfile.TemporaryDirectory() as folder:
            target = pathlib.Path(folder) / "expanded"
            subprocess.run(
                [sys.executable, HERE / "expand_kv.py", MODEL, target], check=True
            )
            config = json.loads((target / "config.json").read_text())
            self.assertEqual(config["num_key_value_heads"], 4)
            self.assertTrue((target / "tokenizer.json").is_file())
            before, _ = read_tensors(MODEL)
            after, start = read_tensors(target)
            self.assertEqual(start % 8, 0)
            self.assertEqual(list(before), list(after))
            for name, (shape, data) in after.items():
                old_shape, old = before[name]
                if ".k_proj." not in name and ".v_proj." not in name:
                    self.assertEqual((shape, data), (old_shape, old), name)
                    continue
                self.assertEqual(shape, [2 * old_shape[0], old_shape[1]], name)
                half, quarter = len(old) // 2, len(data) // 4
                for head in range(4):
                    shared = old[head // 2 * half : (head // 2 + 1) * half]
                    self.assertEqual(data[head * quarter : (head + 1) * quarter], shared, name)


if __name__ == "__main__":
    unittest.main()
