// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";

/// @title What shares have earned: paid in by anybody, divided by shares, taken out by each holder.
/// @notice
///     paid in    amount · 2^128 + remainder = perShare grown · shares + new remainder
///     holder     entitled grows by balance · (perShare - perShare when last looked at)
///     taken out  the whole base units of what a holder is entitled to; the fraction stays his
/// Nothing is rounded away: the entitlements of all holders and the remainder are exactly what was paid in and not taken
/// out. What a holder is entitled to is brought up to date before each change of his balance, so that a dividend
/// belongs to whoever held the shares when it was paid.
/// @dev No overflow: all that is ever paid in for an id fits an uint128, so its 2^128-fold fits a word, and no sum of
/// entitlements exceeds that.
abstract contract Dividends is ERC1155 {
    using SafeERC20 for IERC20;

    /// @notice The accounts of an id: base units ever paid in and taken out, shares there are, and per share, in
    /// 1/2^128 base units, what was ever paid in; `remainder` waits to be divided, in the same unit.
    struct Pot {
        uint128 paidInUnits;
        uint128 claimedUnits;
        uint256 perShare;
        uint128 remainder;
        uint128 shares;
    }

    struct Purse {
        uint256 perShare;
        uint256 entitled;
    }

    /// @notice Fractions of a base unit are kept in 128 bits.
    uint256 private constant FRACTION_BITS = 128;
    uint256 private constant FRACTION = type(uint128).max;

    /// @notice `from` paid `amount` base units in for the shares of an id.
    event DividendPaid(uint256 indexed id, address indexed from, uint256 amount);
    /// @notice `amount` base units became `account`'s other than by a dividend.
    event Credited(uint256 indexed id, address indexed account, uint256 amount);
    /// @notice `account` took `amount` base units out.
    event Claimed(uint256 indexed id, address indexed account, uint256 amount);

    /// @notice Nobody holds shares of that id which could earn something.
    error NotShared(uint256 id);
    /// @notice No amount can be that large.
    error AmountTooLarge(uint256 amount);

    /// @notice The token of all amounts, in its base units. It must move exactly what it is asked to move.
    IERC20 public immutable token;

    mapping(uint256 id => Pot pot) private _pots;
    mapping(uint256 id => mapping(address account => Purse purse)) private _purses;

    constructor(IERC20 token_) {
        token = token_;
    }

    /// @notice Pays `amount` base units to the holders of an id, each by his shares, from the caller's allowance.
    function payDividend(uint256 id, uint256 amount) external {
        Pot memory pot = _pots[id];
        if (!_earns(id)) revert NotShared(id);

        uint256 dividing = (uint256(_units(amount)) << FRACTION_BITS) + pot.remainder;
        pot.paidInUnits += uint128(amount);
        pot.perShare += dividing / pot.shares;
        // Casting: less than the shares.
        pot.remainder = uint128(dividing % pot.shares);
        _pots[id] = pot;

        emit DividendPaid(id, msg.sender, amount);
        _pull(amount);
    }

    /// @notice Takes out all that the caller is entitled to at an id.
    function claim(uint256 id) external returns (uint256 amount) {
        _settle(id, msg.sender);
        Purse storage purse = _purses[id][msg.sender];
        amount = purse.entitled >> FRACTION_BITS;
        purse.entitled &= FRACTION;
        _pots[id].claimedUnits += uint128(amount);

        emit Claimed(id, msg.sender, amount);
        _push(msg.sender, amount);
    }

    /// @notice Base units that `account` could take out at an id.
    function claimable(uint256 id, address account) external view returns (uint256) {
        return entitledOf(id, account) >> FRACTION_BITS;
    }

    /// @notice The accounts of an id.
    function potOf(uint256 id) external view returns (Pot memory) {
        return _pots[id];
    }

    /// @notice Number of shares of an id.
    function sharesOf(uint256 id) public view returns (uint128) {
        return _pots[id].shares;
    }

    /// @notice What `account` is entitled to at an id, in 1/2^128 base units.
    function entitledOf(uint256 id, address account) public view returns (uint256) {
        Purse memory purse = _purses[id][account];
        return purse.entitled + (_pots[id].perShare - purse.perShare) * balanceOf(account, id);
    }

    /// @dev Whether shares of an id earn dividends.
    function _earns(uint256 id) internal view virtual returns (bool);

    /// @inheritdoc ERC1155
    function _update(address from, address to, uint256[] memory ids, uint256[] memory values)
        internal
        virtual
        override
    {
        for (uint256 i = 0; i < ids.length; i++) {
            if (from == address(0)) _pots[ids[i]].shares += _units(values[i]);
            else _settle(ids[i], from);
            if (to == address(0)) _pots[ids[i]].shares -= _units(values[i]);
            else _settle(ids[i], to);
        }
        super._update(from, to, ids, values);
    }

    /// @dev Makes `amount` that is held here already, or is about to be, claimable by `account`.
    function _credit(uint256 id, address account, uint256 amount) internal {
        if (amount == 0) return;
        _pots[id].paidInUnits += _units(amount);
        _purses[id][account].entitled += amount << FRACTION_BITS;
        emit Credited(id, account, amount);
    }

    function _pull(uint256 amount) internal {
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    function _push(address to, uint256 amount) internal {
        token.safeTransfer(to, amount);
    }

    function _units(uint256 amount) internal pure returns (uint128) {
        if (amount > type(uint128).max) revert AmountTooLarge(amount);
        return uint128(amount);
    }

    function _settle(uint256 id, address account) private {
        uint256 entitled = entitledOf(id, account);
        _purses[id][account] = Purse(_pots[id].perShare, entitled);
    }
}
