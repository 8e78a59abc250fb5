"""`python -m reference`: the commands, a line each."""

COMMANDS = {
    "python demo.py": "train the defences, attack each, print the table, draw the pictures",
    "python -m reference.conformance": "check an implementation of the method, in any language, against this one",
    "python -m reference.lessons": "nine lessons, exercises, an attack to watch",
    "python -m reference.studies": "a runnable answer to each question that a reviewer of the paper asked",
    "python -m reference.experiment.search": "choose each defence's settings on the validation split",
    "python -m reference.bench": "how long a training step takes, beside PyTorch, JAX and the matrix products alone",
}


def main() -> None:
    width = max(map(len, COMMANDS))
    print("Each command says more with --help.\n")
    for command, does in COMMANDS.items():
        print(f"{command:{width}}   {does}")


if __name__ == "__main__":
    main()
