// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ICollar} from "../interfaces/ICollar.sol";
import {ICollarListener} from "../interfaces/ICollarListener.sol";
import {IPostingBounds} from "../interfaces/IPostingBounds.sol";
import {Collars} from "../libraries/Collars.sol";

/// @title The bounds of posting: the price oracle's collar, a volume, and whether posting was stopped.
/// @notice
///     price oracle    onStanding ──▶ the copy ◀── setPostingBounds reads it once
///     settlement      postingBounds: the collar by the oracle's own function from the copy, the volume, the stop
/// The one place where the grid touches money, and it only ever refuses a posting: no withdrawal, challenge or answer
/// asks it. An oracle that falls silent stops nothing: the collar of the copy opens with age as the oracle's own does.
/// The guardian stops at once; opening again is the admin's, who is the timelock.
abstract contract PostingBounds is AccessManaged, IPostingBounds, ICollarListener {
    /// @dev One slot, and the only one that a posting reads; `postingBounds` takes it apart by the places that the fields
    /// have in this order, the first one lowest. Prices are micro-currency per kWh: none is above 549,755
    /// of currency, no minimum below -2,147. What does not fit is refused by name, but for two that are cut and lose
    /// nothing: a width of 40 bits reaches beyond every range that fits, and an answer as old as the longest
    /// `staleAfterS`, 194 days, may well bind less than the oracle would have it.
    struct Posting {
        int40 answer;
        uint32 observedAtS;
        uint24 staleAfterS;
        uint40 width;
        int32 minimum;
        int40 maximum;
        uint40 volumeLimitWh;
        bool isStopped;
    }

    /// @notice Posting was stopped.
    event PostingStopped(address indexed guardian);
    /// @notice Posting goes on.
    event PostingOpened();
    /// @notice The oracle of the collar and the limit of the volume changed.
    event PostingBoundsSet(ICollar indexed priceOracle, uint64 volumeLimitWh);

    /// @notice Posting is stopped already.
    error IsStopped();
    /// @notice Posting is not stopped.
    error NotStopped();
    /// @notice Only the price oracle tells what its collar follows from.
    error NotThePriceOracle();
    /// @notice The oracle's range is empty or has prices that are not kept here.
    error PriceRangeIllegal(int64 minimum, int64 maximum);
    /// @notice An answer outside its oracle's range, of the future or of a time that is not kept here, or terms under
    /// which a collar would never open.
    error StandingIllegal();
    /// @notice A limit of so much energy is not kept here.
    error VolumeLimitTooLarge(uint64 volumeLimitWh);

    /// @notice Whose collar binds prices.
    ICollar public priceOracle;

    Posting private _posting;

    constructor(ICollar priceOracle_, uint64 volumeLimitWh_) {
        _setPostingBounds(priceOracle_, volumeLimitWh_);
    }

    /// @notice Stops posting. Restricted: the guardian.
    function stopPosting() external restricted {
        if (_posting.isStopped) revert IsStopped();
        _posting.isStopped = true;
        emit PostingStopped(msg.sender);
    }

    /// @notice Lets posting go on. Restricted: the admin.
    function openPosting() external restricted {
        if (!_posting.isStopped) revert NotStopped();
        _posting.isStopped = false;
        emit PostingOpened();
    }

    /// @notice Sets whose collar binds prices, and the most energy in Wh that one header may trade. Restricted.
    /// @dev A header that was cleared under wider bounds can no longer be posted: announce before narrowing. An oracle
    /// must have this contract as its listener, or its answers count only when this is called.
    function setPostingBounds(ICollar priceOracle_, uint64 volumeLimitWh_) external restricted {
        _setPostingBounds(priceOracle_, volumeLimitWh_);
    }

    /// @inheritdoc ICollarListener
    function onStanding(
        int64 answer,
        uint40 observedAtS,
        uint32 staleAfterS,
        uint64 width,
        int64 minimum,
        int64 maximum
    ) external {
        if (msg.sender != address(priceOracle)) revert NotThePriceOracle();
        _keep(answer, observedAtS, staleAfterS, width, minimum, maximum);
    }

    /// @inheritdoc IPostingBounds
    function postingBounds()
        external
        view
        returns (int64 priceFloor, int64 priceCap, uint64 volumeLimitWh, bool isOpen)
    {
        int64 answer;
        uint40 observedAtS;
        uint32 staleAfterS;
        uint64 width;
        int64 minimum;
        int64 maximum;
        // In assembly because every posting of a header pays for it: one slot, read once, taken apart by its places.
        assembly ("memory-safe") {
            let posting := sload(_posting.slot)
            answer := signextend(4, posting)
            observedAtS := and(shr(40, posting), 0xffffffff)
            staleAfterS := and(shr(72, posting), 0xffffff)
            width := and(shr(96, posting), 0xffffffffff)
            minimum := signextend(3, shr(136, posting))
            maximum := signextend(4, shr(168, posting))
            volumeLimitWh := and(shr(208, posting), 0xffffffffff)
            isOpen := iszero(shr(248, posting))
        }
        (priceFloor, priceCap) = Collars.around(answer, observedAtS, staleAfterS, width, minimum, maximum);
    }

    function _setPostingBounds(ICollar priceOracle_, uint64 volumeLimitWh_) private {
        if (volumeLimitWh_ > type(uint40).max) revert VolumeLimitTooLarge(volumeLimitWh_);
        // What has no standing would bind nothing; better that it stops this call.
        (int64 answer, uint40 observedAtS, uint32 staleAfterS, uint64 width, int64 minimum, int64 maximum) =
            priceOracle_.standing();
        priceOracle = priceOracle_;
        _posting.volumeLimitWh = uint40(volumeLimitWh_);
        _keep(answer, observedAtS, staleAfterS, width, minimum, maximum);
        emit PostingBoundsSet(priceOracle_, volumeLimitWh_);
    }

    /// @dev Judges everything that `Collars` takes for granted, because an oracle of another make may tell anything.
    function _keep(int64 answer, uint40 observedAtS, uint32 staleAfterS, uint64 width, int64 minimum, int64 maximum)
        private
    {
        if (minimum > maximum || minimum != int32(minimum) || maximum != int40(maximum)) {
            revert PriceRangeIllegal(minimum, maximum);
        }
        if (observedAtS == 0) {
            answer = 0;
        } else if (answer < minimum || answer > maximum || observedAtS > block.timestamp) {
            revert StandingIllegal();
        }
        if (staleAfterS == 0 || width == 0 || observedAtS > type(uint32).max) revert StandingIllegal();
        Posting memory posting = _posting;
        // Casting: the answer lies in the range, whose ends fit; everything else was compared with what fits.
        posting.answer = int40(answer);
        posting.observedAtS = uint32(observedAtS);
        posting.staleAfterS = staleAfterS > type(uint24).max ? type(uint24).max : uint24(staleAfterS);
        posting.width = width > type(uint40).max ? type(uint40).max : uint40(width);
        posting.minimum = int32(minimum);
        posting.maximum = int40(maximum);
        _posting = posting;
    }
}
