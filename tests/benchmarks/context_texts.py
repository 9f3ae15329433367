"""Labelled texts for `context_recall`: real texts of installed packages, and for each the question that should find it.

Three kinds, each with one right answer per question:

* errors: the snippets are executed, and the text is what the store keeps of what they raise (type, message, the line of
  code); the questions are written by hand, in the words of somebody who does not remember the message. They avoid its
  words, so keyword search is at its worst here.
* data sets: the descriptions scikit-learn ships with its small data sets; questions by hand.
* functions: public functions of the standard library, NumPy, pandas and scikit-learn. The question is the docstring's
  first sentence, the text is what follows (description, notes, what is returned) without that sentence and without the
  function's own name. Both were written by the same author about the same thing and share its terms, so keyword search is
  at its best here.
"""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from typing import Final, NamedTuple

__all__ = ["Labelled", "labelled"]


class Labelled(NamedTuple):
    """A text and the question it answers."""

    kind: str
    text: str
    question: str


ERRORS: Final = [
    ("open('/no/such/file.csv')", "the input data is not where the program looks for it"),
    ("import nosuchpackage", "a library is missing and has to be installed"),
    ("1 / 0", "a ratio whose denominator was nothing"),
    ("{'a': 1}['b']", "looked up an entry that a dictionary lacks"),
    ("[1, 2][5]", "asked for an element past the end of the sequence"),
    ("int('12,5')", "text that is no whole number"),
    ("float('n/a')", "cannot turn a placeholder for a missing measurement into a decimal"),
    ("'a' + 1", "gluing text and a number together"),
    ("len(5)", "counting the items of something that is not a collection"),
    ("None.strip()", "calling a text method on nothing because a lookup came back empty"),
    ("sum(['a', 'b'])", "adding up words instead of numbers"),
    ("undefined_name + 1", "a variable was used before it was created"),
    ("b'\\xff\\xfe'.decode()", "the file has a different character encoding"),
    ("'é'.encode('ascii')", "accented letters cannot be written in plain seven bit"),
    ("import json; json.loads('{bad')", "the server's reply could not be parsed as a document"),
    ("a, b = 1, 2, 3", "a function returned more results than variables on the left"),
    ("a, b = [1]", "fewer items came back than names to take them"),
    ("(lambda x: x)()", "forgot to pass something to a function"),
    ("(lambda x: x)(1, 2)", "passed too much to a function"),
    ("[].pop()", "removing the last element when nothing is left"),
    ("import datetime; datetime.datetime.strptime('2024/01/02', '%Y-%m-%d')", "a date in the wrong layout"),
    ("import datetime; datetime.date(2023, 2, 30)", "February has no such calendar date"),
    ("import os; os.mkdir('/proc/x/y')", "creating a folder where the parent is absent"),
    ("open('/')", "opened a folder as if it were a document"),
    ("import socket; socket.create_connection(('127.0.0.1', 9))", "nobody listens on that port"),
    ("import urllib.request; urllib.request.urlopen('ftps://x')", "the address uses a protocol that is not supported"),
    ("import subprocess; subprocess.run(['false'], check=True)", "an external command ended badly"),
    ("import subprocess; subprocess.run(['sleep', '5'], timeout=0.01)", "an external program took longer than allowed"),
    ("import pickle; pickle.dumps(lambda: 1)", "an anonymous function cannot be saved to disk"),
    ("import threading, pickle; pickle.dumps(threading.Lock())", "sending a mutex to another process"),
    ("def f(): return f()\nf()", "a function that calls itself forever"),
    ("compile('if x', '', 'exec')", "the code is missing a colon"),
    ("compile('x = (1', '', 'exec')", "an opening bracket has no partner"),
    ("compile('def f():\\npass', '', 'exec')", "the body of a function does not start further right"),
    ("import sqlite3; sqlite3.connect(':memory:').execute('select * from t')", "the database has no table of that name"),
    ("import sqlite3; sqlite3.connect(':memory:').execute('selec 1')", "a typing mistake in a query"),
    ("import re; re.compile('(')", "a broken pattern for matching text"),
    ("import decimal; decimal.Decimal('abc')", "an amount of money that is no number"),
    ("import uuid; uuid.UUID('123')", "an identifier of the wrong length"),
    ("import ipaddress; ipaddress.ip_address('300.1.1.1')", "a network host number above what a byte can hold"),
    ("import zipfile, io; zipfile.ZipFile(io.BytesIO(b'x'))", "the downloaded archive is damaged"),
    ("import gzip; gzip.decompress(b'plain')", "decompressing data that never was compressed"),
    ("import csv; list(csv.reader(['a\\x00b'], strict=True, delimiter='ab'))", "the column separator has two letters"),
    ("import pandas as pd; pd.DataFrame({'a': [1]})['revenue']", "the table has no such field"),
    ("import pandas as pd; pd.DataFrame({'a': [1, 2], 'b': [1]})", "columns of different lengths in one table"),
    ("import pandas as pd; pd.to_datetime(['yesterday noonish'])", "text that is no point in time"),
    ("import pandas as pd; pd.Series([1]).loc[9]", "no row carries that label"),
    ("import pandas as pd; pd.DataFrame({'a': [1]}).merge(pd.DataFrame({'b': [1]}))", "joining two tables with nothing in common"),
    ("import pandas as pd; pd.DataFrame({'a': [1, 1], 'b': [1, 1], 'c': [1, 2]}).pivot(index='a', columns='b')", "reshaping long to wide when a cell would get two values"),
    ("import pandas as pd; bool(pd.Series([True, False]))", "an if statement on a whole column"),
    ("import pandas as pd; pd.concat([])", "stacking an empty list of tables"),
    ("import pandas as pd; pd.read_csv(__import__('io').StringIO(''))", "the spreadsheet export is blank"),
    ("import pandas as pd; pd.read_csv(__import__('io').StringIO('a,b\\n1,2\\n1,2,3\\n'))", "one line of the data file has too many cells"),
    ("import pandas as pd; pd.Series(['x']).astype(int)", "turning words of a column into integers"),
    ("import pandas as pd; pd.DataFrame({'a': [1]}).drop(columns='z')", "deleting a field that is not there"),
    ("import pandas as pd; pd.date_range('2024', periods=3, freq='fortnight')", "an unknown interval between timestamps"),
    ("import pandas as pd; pd.Series([1, 2], index=[1, 1]).reindex([1, 2])", "rearranging rows whose keys occur twice"),
    ("import pandas as pd; pd.DataFrame({'a': [1]}).query('a >')", "filter expression is incomplete"),
    ("import pandas as pd; pd.merge(pd.DataFrame({'k': [1, 1]}), pd.DataFrame({'k': [1]}), on='k', validate='1:1')", "a join key that should occur once occurs repeatedly"),
    ("import pandas as pd; pd.Timestamp('2024-01-01', tz='Mars/Base')", "no clock offset for that place"),
    ("import pandas as pd; pd.cut([1, 2], bins=[3, 1])", "histogram edges in the wrong order"),
    ("import numpy as np; np.zeros((2, 3)) @ np.zeros((2, 3))", "multiplying matrices whose sizes do not fit"),
    ("import numpy as np; np.zeros(3) + np.zeros(4)", "elementwise arithmetic on vectors of different lengths"),
    ("import numpy as np; np.zeros(6).reshape(4, 2)", "changing the dimensions of an array to a wrong total"),
    ("import numpy as np; np.linalg.inv(np.zeros((2, 2)))", "matrix has no inverse"),
    ("import numpy as np; np.linalg.cholesky(-np.eye(2))", "factorisation fails because an eigenvalue is negative"),
    ("import numpy as np; np.concatenate([np.zeros((1, 2)), np.zeros((1, 3))])", "gluing arrays whose other sides differ"),
    ("import numpy as np; np.random.default_rng().choice([1, 2], 3, replace=False)", "drawing more items than the bag holds"),
    ("import numpy as np; np.array([1, 2]).item()", "expected one scalar from an array"),
    ("import numpy as np; np.array([[1, 2], [3]])", "nested lists of uneven length"),
    ("import numpy as np; np.load(__import__('io').BytesIO(b'junk'))", "stored array in an unknown or unsafe format"),
    ("import numpy as np; np.zeros(3)[1.5]", "position given as a fraction"),
    ("from sklearn.linear_model import LinearRegression as L; L().predict([[1]])", "using a model before training it"),
    ("from sklearn.linear_model import LinearRegression as L; L().fit([[1], [2]], [1])", "features and target have different numbers of rows"),
    ("from sklearn.linear_model import LinearRegression as L; L().fit([[float('nan')]], [1])", "training data with holes in it"),
    ("from sklearn.linear_model import LogisticRegression as L; L().fit([[1], [2]], [0, 0])", "classifier saw only one category"),
    ("from sklearn.linear_model import LinearRegression as L; L().fit([1, 2], [1, 2])", "single feature given as a flat list"),
    ("from sklearn.preprocessing import OneHotEncoder as E; E().fit([['a']]).transform([['b']])", "a level at prediction time that was never seen in training"),
    ("from sklearn.model_selection import train_test_split as t; t([1])", "too little data to hold some out"),
    ("from sklearn.model_selection import StratifiedKFold as K; list(K(5).split([[1]] * 4, [0, 0, 1, 1]))", "cross validation with more parts than members of a class"),
    ("from sklearn.cluster import KMeans as K; K(5).fit([[1], [2]])", "more groups requested than points"),
    ("from sklearn.feature_extraction.text import CountVectorizer as C; C().fit(['a', 'I'])", "no words remain after cleaning the documents"),
    ("from sklearn.decomposition import PCA; PCA(9).fit([[1, 2], [3, 4]])", "reducing to more dimensions than there are"),
    ("from pydantic import BaseModel\nclass M(BaseModel): n: int\nM(n='x')", "a form field was filled with letters instead of a count"),
    ("from pydantic import BaseModel\nclass M(BaseModel): n: int\nM()", "a required form entry was left out"),
    ("import duckdb; duckdb.sql('select nosuch from range(3)')", "analytic query mentions a column that is not there"),
    ("import duckdb; duckdb.sql(\"select 'x'::int\").fetchall()", "a cast of a string inside SQL"),
    ("import duckdb; duckdb.sql('from missing_view')", "catalog does not know this relation"),
    ("import asyncio; asyncio.run(asyncio.wait_for(asyncio.sleep(1), 0.01))", "waiting was given up"),
    ("import asyncio\nasync def f(): asyncio.run(f())\nasyncio.run(f())", "starting a second event loop within the first"),
    ("import concurrent.futures as c; e = c.ThreadPoolExecutor(); e.shutdown(); e.submit(print)", "handing work to a pool that was closed"),
    ("import queue; queue.Queue().get_nowait()", "nothing to take from the line"),
    ("import queue; q = queue.Queue(1); q.put(1); q.put_nowait(2)", "no room for another job"),
    ("next(iter([]))", "an iterator that has nothing more"),
    ("frozenset().add(1)", "changing a set that cannot be changed"),
    ("(1, 2)[0].x", "a number does not have this property"),
    ("{[]: 1}", "a list as the key of a mapping"),
    ("'%d' % 'x'", "formatting text as a digit"),
    ("'{a}'.format(b=1)", "a template placeholder without a value"),
    ("import math; math.sqrt(-1)", "root of a negative"),
    ("import math; math.exp(10000)", "the result is too big for floating point"),
    ("range(0, 10, 0)", "step width of nothing in a loop"),
    ("import enum\nclass C(enum.Enum): A = 1\nC(5)", "not one of the allowed choices"),
    ("import statistics; statistics.mean([])", "average of nothing"),
    ("import random; random.choice([])", "picking at random from nothing"),
    ("import base64; base64.b64decode('abc')", "encoded attachment was cut off"),
    ("import shutil; shutil.copy('/etc/hostname', '/etc/hostname')", "duplicating a document onto itself"),
    ("import configparser; configparser.ConfigParser().get('a', 'b')", "a heading is absent from the settings file"),
    ("import tomllib; tomllib.loads('a = ')", "project settings cannot be parsed"),
    ("import xml.etree.ElementTree as E; E.fromstring('<a>')", "markup tag never closed"),
    ("import inspect; inspect.signature(5)", "asking for the arguments of something that is no function"),
    ("import functools; functools.reduce(lambda a, b: a, [])", "folding nothing without a start"),
    ("from fractions import Fraction; Fraction('1/x')", "a malformed quotient"),
    ("import hashlib; hashlib.new('md99')", "unknown checksum algorithm"),
    ("import struct; struct.unpack('I', b'ab')", "binary record is shorter than its layout"),
    ("import locale; locale.setlocale(locale.LC_ALL, 'xx_XX')", "the language settings of the system do not exist"),
    ("import pathlib; pathlib.Path('/a').relative_to('/b')", "one folder does not lie below the other"),
    ("raise PermissionError(13, 'Permission denied', '/root/secret')", "not allowed to touch that file"),
    ("raise MemoryError('Unable to allocate 74.5 GiB for an array with shape (100000, 100000)')", "ran out of RAM"),
    ("raise OSError(28, 'No space left on device')", "the disk is full"),
    ("raise ConnectionResetError(104, 'Connection reset by peer')", "the other side hung up"),
]  # fmt: skip

DATASETS: Final = {
    "load_iris": "petals and sepals of flowers of several species",
    "load_diabetes": "progression of an illness one year after baseline, with body mass and blood serum",
    "load_wine": "chemical analysis of bottles from cultivars in Italy",
    "load_breast_cancer": "is a tumour malignant, from cell nuclei in images",
    "load_digits": "small pictures of handwritten numerals",
    "load_linnerud": "exercise repetitions and physiological measures of men in a fitness club",
    "fetch_california_housing": "house prices by district from the census",
    "fetch_20newsgroups": "classifying discussion forum posts by topic",
    "fetch_olivetti_faces": "photographs of people from a lab in Cambridge",
    "fetch_lfw_people": "recognising celebrities in pictures collected from the web",
    "fetch_covtype": "which trees grow in a patch of forest",
    "fetch_rcv1": "categorised news agency stories",
    "fetch_kddcup99": "detecting intrusions in network traffic",
    "fetch_species_distributions": "where animals of South America live",
}

MODULES: Final = [
    "shutil", "os.path", "statistics", "itertools", "functools", "textwrap", "difflib", "heapq", "bisect", "subprocess",
    "numpy", "numpy.linalg", "pandas", "pandas.DataFrame", "pandas.Series", "sklearn.metrics", "sklearn.preprocessing",
    "sklearn.model_selection", "sklearn.cluster", "sklearn.ensemble", "sklearn.linear_model", "sklearn.decomposition",
    "sklearn.feature_selection", "sklearn.utils", "sklearn.neighbors", "sklearn.impute", "sklearn.svm",
]  # fmt: skip
FEWEST_WORDS: Final = 12
LONGEST: Final = 900


def labelled() -> list[Labelled]:
    """All texts with their questions. No text and no question occurs twice."""
    found = [*_errors(), *_datasets(), *_functions()]
    texts: set[str] = set()
    questions: set[str] = set()
    kept = []
    for one in found:
        if one.text not in texts and one.question not in questions:
            kept.append(one)
            texts.add(one.text)
            questions.add(one.question)
    return kept


def _errors() -> list[Labelled]:
    rows = []
    for code, question in ERRORS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                exec(code, {})
            except Exception as error:
                text = f"{type(error).__name__}: {error}\nat {code.splitlines()[-1].rpartition('; ')[2]}"
                rows.append(Labelled("error", text[:LONGEST], question))
            else:
                raise AssertionError(f"this was to raise an error: {code}")
    return rows


def _datasets() -> list[Labelled]:
    import sklearn.datasets

    folder = importlib.resources.files("sklearn.datasets.descr")
    descriptions = {
        file.name.removesuffix(".rst"): file.read_text("utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".rst")
    }
    files = {"load_diabetes": "diabetes", "load_iris": "iris", "load_wine": "wine_data", "load_breast_cancer": "breast_cancer",
             "load_digits": "digits", "load_linnerud": "linnerud", "fetch_california_housing": "california_housing",
             "fetch_20newsgroups": "twenty_newsgroups", "fetch_olivetti_faces": "olivetti_faces", "fetch_lfw_people": "lfw",
             "fetch_covtype": "covtype", "fetch_rcv1": "rcv1", "fetch_kddcup99": "kddcup99",
             "fetch_species_distributions": "species_distributions"}  # fmt: skip
    assert all(hasattr(sklearn.datasets, name) for name in files)
    return [Labelled("data set", descriptions[file][:LONGEST], DATASETS[name]) for name, file in files.items()]


def _functions() -> list[Labelled]:
    rows = []
    for module in MODULES:
        owner = _imported(module)
        for name in sorted(n for n in dir(owner) if not n.startswith("_")):
            thing = getattr(owner, name)
            if callable(thing) and (made := _from_doc(name, inspect.getdoc(thing) or "")) is not None:
                rows.append(made)
    return rows


def _imported(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(module), attribute)


def _from_doc(name: str, doc: str) -> Labelled | None:
    first, _, rest = doc.partition("\n\n")
    question = " ".join(first.split()).rstrip(".")
    body = re.split(r"\n(?:Parameters|See Also|Examples|References|Attributes|Methods)\n-+", "\n" + rest)[0]
    body += "".join(re.findall(r"\n(?:Returns|Notes)\n-+\n(.*?)(?=\n\w[\w ]*\n-{3,}|\Z)", rest, re.S))
    body = re.sub(r"\n(Returns|Notes)\n-+|\.\. \w+::.*|:\w+:|>>>.*|[`*]+", " ", body)
    body = re.sub(rf"\b{re.escape(name)}\b", "", body)
    text = " ".join(body.split())[:LONGEST]
    if len(text.split()) < FEWEST_WORDS or not 4 <= len(question.split()) <= 25 or "(" in question:
        return None
    return Labelled("function", text, question)
