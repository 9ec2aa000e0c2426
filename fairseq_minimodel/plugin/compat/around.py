"""Putting a function of this package in the place of one of fairseq's."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

Former = Callable[..., Any]  # what a function stands in the place of


def around(owner: Any, name: str) -> Callable[[Callable], Callable]:
    """Decorator: let a function be called instead of `owner.name`, which it gets as first argument.

    Methods, class methods and static methods stay what they are; of a method the second argument is
    the object, of a class method the class.
    """

    def put(function: Callable) -> Callable:
        former = inspect.getattr_static(owner, name)
        kind = type(former) if isinstance(former, classmethod | staticmethod) else None
        original = former.__func__ if kind else former

        @functools.wraps(original)
        def replacement(*args: Any, **kwargs: Any) -> Any:
            return function(original, *args, **kwargs)

        setattr(owner, name, kind(replacement) if kind else replacement)
        return function

    return put
