defmodule Abacus.Stack do
  @moduledoc """
  A calculator in reverse Polish notation: numbers are pushed, operators take two from the stack.

      iex> Abacus.Stack.evaluate("3 4 + 2 *")
      {:ok, 14.0}
  """

  @operators %{"+" => &Kernel.+/2, "-" => &Kernel.-/2, "*" => &Kernel.*/2}

  def evaluate(text) do
    text
    |> String.split()
    |> Enum.reduce_while({:ok, []}, &step/2)
    |> finish()
  end

  defp step(operator, {:ok, [right, left | rest]}) when is_map_key(@operators, operator) do
    {:cont, {:ok, [@operators[operator].(left, right) | rest]}}
  end

  defp step(word, {:ok, stack}) do
    case Float.parse(word) do
      {number, ""} -> {:cont, {:ok, [number | stack]}}
      _ -> {:halt, {:error, "cannot use #{inspect(word)} here"}}
    end
  end

  defp finish({:ok, [result]}), do: {:ok, result}
  defp finish({:ok, stack}), do: {:error, "#{length(stack)} numbers are left"}
  defp finish(error), do: error
end
