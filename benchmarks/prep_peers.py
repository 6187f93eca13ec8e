"""What the preparation is compared with: programs for processes of their own, which print the seconds they took.

SentencePiece's prints the CPU seconds of its processes before that.

Both get the folder of the corpus, the tokenizer's folder and a number of processes. What a program has to load or to
start first is not counted.
"""

# Processes that encode their share of the texts, cut into encoding segments beforehand, as one list.
SENTENCEPIECE = """
import json, multiprocessing, sys, time
from pathlib import Path
import sentencepiece
from data_prep.tokenizer.segments import segments

def encode(folder, model, number, count, ready, begin, spent):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model / "spiece.model"))
    paths = sorted((folder / "corpus").glob("*.jsonl"))[number::count]
    texts = [json.loads(line)["text"] for path in paths for line in path.open(encoding="utf-8")]
    parts = [part for text in texts for part in segments(text)]
    processor.encode(parts[:100], return_type="numpy", num_threads=1)
    ready.release()
    begin.wait()
    before = time.process_time()
    processor.encode(parts, return_type="numpy", num_threads=1)
    spent[number] = time.process_time() - before

folder, model, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
context = multiprocessing.get_context("fork")
ready, begin = context.Semaphore(0), context.Event()
spent = context.Array("d", count)
args = [(folder, model, number, count, ready, begin, spent) for number in range(count)]
processes = [context.Process(target=encode, args=given) for given in args]
for process in processes:
    process.start()
for process in processes:
    ready.acquire()
started = time.perf_counter()
begin.set()
for process in processes:
    process.join()
    assert process.exitcode == 0
print(sum(spent), time.perf_counter() - started)
"""

# Reads the same files and tokenizes them with the same model, in Hugging Face's format.
DATATROVE = """
import sys, tempfile, time
from pathlib import Path
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from data_prep.tokenizer import Tokenizer
from pipeline.export.tokenizer import export_tokenizer

def main():
    folder, model, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    exported = folder / "hugging_face"
    if not exported.exists():
        exported.mkdir()
        export_tokenizer(model, exported)

    def run(source):
        with tempfile.TemporaryDirectory(dir=folder) as out:
            tokenizer = DocumentTokenizer(
                output_folder=out + "/tokens", local_working_dir=None, save_filename="all",
                tokenizer_name_or_path=str(exported / "tokenizer.json"), shuffle_documents=False,
            )
            steps = [JsonlReader(str(folder / source)), tokenizer]
            LocalPipelineExecutor(steps, tasks=count, workers=count, logging_dir=out + "/logs").run()

    run("warm")
    started = time.perf_counter()
    run("corpus")
    print(time.perf_counter() - started)

if __name__ == "__main__":
    main()
"""


def how_to_get_datatrove() -> str:
    """What to do so that it is measured."""
    return "not measured: pip install --target FOLDER datatrove, then --datatrove FOLDER"
