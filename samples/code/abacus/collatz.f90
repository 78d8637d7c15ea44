program collatz
  use, intrinsic :: iso_fortran_env, only: int64
  implicit none
  integer(int64) :: start, value
  integer :: steps, best_steps
  integer(int64) :: best_start

  best_steps = 0
  best_start = 1
  do start = 1, 100000
     value = start
     steps = 0
     do while (value /= 1)
        if (mod(value, 2_int64) == 0) then
           value = value / 2
        else
           value = 3 * value + 1
        end if
        steps = steps + 1
     end do
     if (steps > best_steps) then
        best_steps = steps
        best_start = start
     end if
  end do
  print '(a, i0, a, i0, a)', 'the start ', best_start, ' needs ', best_steps, ' steps'
end program collatz
